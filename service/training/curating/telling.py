"""What is told of rows: which they are, how many each segment and producer has, which labels are suspicious."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.columns.kinds import source_of
from monitors.counting.segments import OTHER, conditions_of, value_tuples
from monitors.readings import IntArray
from policies.file.curation import Curate
from service.training.curating.choosing import Choice, View, rows_at, weights_of
from service.training.curating.digests import digest_of

Account = dict[str, Any]
MOST_NAMED = 50
"""Segments of one cut, and producers, that are counted by name: the largest."""
_LONGEST = 200
LISTED = 1_000
"""Ids of one reason that are listed."""


def listing(ids: pa.ChunkedArray) -> Account:
    """How many rows these are, the digest of all, and the first few."""
    return {"rows": len(ids), "digest": digest_of(ids), "ids": ids.slice(0, LISTED).to_pylist()}


def suspects(rows: pa.Table, view: View, places: IntArray) -> Account:
    """The suspicious labels at these places: how many were looked at, and the least likely ones."""
    suspicion = view.suspicion
    found = places[suspicion.rows[places]]
    order = np.argsort(suspicion.doubt[found], kind="stable")[::-1]
    shown = found[order[:LISTED]]
    ids, labels = (rows.column(name).take(pa.array(shown)).to_pylist() for name in ("prediction_id", "label"))
    likelihoods, rather = np.round(suspicion.likelihood[shown], 4).tolist(), suspicion.rather[shown].tolist()
    return {
        "rows": len(found),
        "looked_at": int(suspicion.looked_at[places].sum()),
        "digest": digest_of(rows.column("prediction_id").take(pa.array(found))),
        "labels": [
            {"id": i, "label": _short(label), "likelihood": p, "rather": _short(other)}
            for i, label, p, other in zip(ids, labels, likelihoods, rather, strict=True)
        ],
        "why_not": suspicion.why_not,
    }


def _short(label: str | float) -> str | float:
    return label[:_LONGEST] if isinstance(label, str) else label


def part_of(rows: pa.Table, view: View, places: IntArray, cuts: Sequence[Sequence[str]], target: str) -> Account:
    """A part: how many rows of when, their digest, how many each segment has, and what is odd about them."""
    part = rows_at(rows, places)
    times = part.column("timestamp")
    return {
        "rows": part.num_rows,
        "from": pc.min(times).as_py().isoformat(),
        "until": pc.max(times).as_py().isoformat(),
        "digest": digest_of(part.column("prediction_id")),
        "segments": segments_of(part, cuts, target),
        "suspicious": int(view.suspicion.rows[places].sum()),
        "producers": producers_of(view, places),
    }


def choice_of(
    rows: pa.Table, view: View, choice: Choice, rules: Curate, cuts: Sequence[Sequence[str]], target: str
) -> Account:
    """What curation made of a candidate's stretch; nothing where it took the rows as they are.

    `effective_rows` is Kish's: as many rows of equal weight would say as much.
    """
    found: Account = {}
    if choice.left_out() or choice.filled:
        stretch = rows.slice(choice.begin, choice.end - choice.begin)
        before = {"considered": stretch.num_rows, "segments_considered": segments_of(stretch, cuts, target)}
        found = before | {"left_out": choice.left_out(), "filled": choice.filled}
    weights = weights_of(view.micros[choice.taken], rules)
    if weights is not None:
        effective = float(weights.sum() ** 2 / np.square(weights).sum())
        found["weights"] = {"least": float(weights.min()), "effective_rows": round(effective, 1)}
    return found


def producers_of(view: View, places: IntArray) -> dict[str, int]:
    """Rows of each producer at these places, the largest ones; empty where the policy names no producers."""
    if view.producers is None:
        return {}
    counts = np.bincount(view.producers[places], minlength=len(view.producer_names))
    largest = np.argsort(-counts, kind="stable")[:MOST_NAMED]
    return {view.producer_names[place]: int(counts[place]) for place in largest.tolist() if counts[place]}


def segments_of(rows: pa.Table, cuts: Sequence[Sequence[str]], target: str) -> dict[str, int]:
    """Rows of each segment; of a cut with more than `MOST_NAMED` the largest, and the rest together."""
    found: dict[str, int] = {}
    for names in cuts:
        tuples, places = value_tuples(rows, [source_of(rows, name, target) for name in names])
        counts = np.bincount(places, minlength=len(tuples))
        largest = np.sort(np.argsort(-counts, kind="stable")[:MOST_NAMED])
        for place in largest.tolist():
            found[",".join(conditions_of(names, tuples[place]))] = int(counts[place])
        if len(largest) < len(tuples):
            rest = ",".join(f"{name}={OTHER}" for name in names)
            found[rest] = found.get(rest, 0) + rows.num_rows - int(counts[largest].sum())
    return found
