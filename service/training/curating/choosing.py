"""Choosing: which rows of a stretch teach, and for every other one the reason why not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from monitors.columns.kinds import source_of
from monitors.counting.segments import value_tuples
from monitors.readings import FloatArray, IntArray
from policies.file.curation import LABEL, Curate
from service.training.checkpoints import BoolArray
from service.training.curating.alike import codes_of, codes_with, outdated, repeated
from service.training.curating.alike import conflicting as find_conflicting
from service.training.curating.shares import cap_of, fill, thin
from service.training.curating.suspicion import Suspicion
from service.training.curating.usable import microseconds
from service.training.training_errors import TrainingData

REASONS = ("stale", "duplicate", "conflicting", "suspicious", "over_segment_size", "over_producer_share")
"""Why a row of a candidate's stretch does not teach it; a row has the first one that holds."""
_KEPT = -1


@dataclass(frozen=True, eq=False)
class View:
    """All usable rows in time order as numbers: when, what is equal, whose they are.

    `alike` are equal in their features, `equal` in features and label. `segments` and `producers` are None where the
    policy does not ask; `producer_names` are the producers by their number.
    """

    micros: IntArray
    alike: IntArray
    equal: IntArray
    suspicion: Suspicion
    segments: IntArray | None
    producers: IntArray | None
    producer_names: Sequence[str] = ()

    def conflicting(self) -> BoolArray:
        """Rows with the features of a row with another label."""
        return find_conflicting(self.alike, self.equal)


@dataclass(frozen=True, eq=False)
class Choice:
    """What became of a stretch of rows: `taken` are the places of those that teach, in time order.

    `reasons` holds for each row of the stretch, which is `begin` to `end`, the place of its reason in `REASONS`, or -1.
    `filled` says how many of the taken come from before the stretch.
    """

    begin: int
    end: int
    taken: IntArray
    reasons: IntArray
    filled: int

    @property
    def not_taken(self) -> IntArray:
        """The places of the stretch's other rows, in time order."""
        return self.begin + np.flatnonzero(self.reasons != _KEPT)

    def left_out(self) -> dict[str, int]:
        """How many rows of the stretch each reason left out, where it did."""
        counts = np.bincount(self.reasons[self.reasons >= 0], minlength=len(REASONS)).tolist()
        return {reason: count for reason, count in zip(REASONS, counts, strict=True) if count}


def view_of(rows: pa.Table, rules: Curate, suspicion: Suspicion, target: str) -> View:
    """The view of usable rows. Raises TrainingData where a column that the policy names is not there."""
    features = [name for name in rows.column_names if name.startswith("feature_")]
    alike = codes_of(rows, features) if features else np.arange(rows.num_rows)
    segments = _groups(rows, rules.balance.by, target, "balance.by")[1] if rules.balance else None
    named, producers = (
        _groups(rows, [rules.producers.column], target, "producers.column") if rules.producers else ([], None)
    )
    return View(
        microseconds(rows),
        alike,
        codes_with(alike, rows, [LABEL]),
        suspicion,
        segments,
        producers,
        [name for (name,) in named],
    )


def rows_at(rows: pa.Table, places: IntArray) -> pa.Table:
    """The rows at these places, in time order; without a copy where they are a stretch."""
    is_stretch = len(places) > 0 and int(places[-1] - places[0]) + 1 == len(places)
    return rows.slice(int(places[0]), len(places)) if is_stretch else rows.take(pa.array(places))


def choose(view: View, begin: int, end: int, rules: Curate) -> Choice:
    """Which rows from `begin` to `end` teach, with those from before that fill small segments up."""
    reasons = _reasons(view, begin, end, rules)
    older = _older(view, begin, end, rules, reasons == _KEPT)
    if view.segments is not None and rules.balance is not None and rules.balance.most is not None:
        kept = np.flatnonzero(reasons == _KEPT)
        stays = thin(view.segments[begin + kept], rules.balance.most)
        reasons[kept[~stays]] = REASONS.index("over_segment_size")
    if view.producers is not None and rules.producers is not None:
        kept = np.flatnonzero(reasons == _KEPT)
        producers = view.producers[np.concatenate([older, begin + kept])]
        stays = thin(producers, cap_of(np.bincount(producers), rules.producers.most))
        reasons[kept[~stays[len(older) :]]] = REASONS.index("over_producer_share")
        older = older[stays[: len(older)]]
    taken = np.concatenate([older, begin + np.flatnonzero(reasons == _KEPT)])
    return Choice(begin, end, taken, reasons, len(older))


def weights_of(micros: IntArray, rules: Curate) -> FloatArray | None:
    """How much each row counts: half for each half-life it is older than the newest; None where all count the same."""
    if rules.half_life is None or not len(micros):
        return None
    return np.asarray(0.5 ** ((micros.max() - micros) / (rules.half_life.total_seconds() * 1e6)))


def _reasons(view: View, begin: int, end: int, rules: Curate) -> IntArray:
    """What speaks against each row itself."""
    micros, alike, equal = (each[begin:end] for each in (view.micros, view.alike, view.equal))
    against: list[tuple[str, BoolArray]] = []
    if rules.oldest is not None and len(micros):
        against.append(("stale", micros < micros.max() - rules.oldest.total_seconds() * 1e6))
    if rules.duplicates is not None:
        against.append(("duplicate", repeated(equal, micros, rules.duplicates)))
    if rules.conflicts != "keep":
        find = outdated if rules.conflicts == "newest" else find_conflicting
        against.append(("conflicting", find(alike, equal)))
    if rules.suspicious == "leave_out":
        against.append(("suspicious", view.suspicion.rows[begin:end]))
    reasons = np.full(end - begin, _KEPT)
    for reason, rows in reversed(against):
        reasons[rows] = REASONS.index(reason)
    return reasons


def _older(view: View, begin: int, end: int, rules: Curate, taken: BoolArray) -> IntArray:
    """The places of rows before `begin` that fill small segments up, in time order."""
    if view.segments is None or rules.balance is None or rules.balance.least is None:
        return np.empty(0, dtype=np.int64)
    sound = _reasons(view, 0, end, rules) == _KEPT
    offered = sound & (np.arange(end) < begin)
    inside = np.concatenate([np.zeros(begin, dtype=bool), taken])
    return np.flatnonzero(fill(view.segments[:end], inside, offered, rules.balance.least))


def _groups(rows: pa.Table, names: Sequence[str], target: str, key: str) -> tuple[list[tuple[str, ...]], IntArray]:
    sources = [LABEL if name == LABEL else source_of(rows, name, target) for name in names]
    for name, source in zip(names, sources, strict=True):
        if source not in rows.column_names:
            raise TrainingData(f"retrain.curate.{key} names {name!r}, but no labelled row has such a feature or tag")
    return value_tuples(rows, sources)
