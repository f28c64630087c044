"""Curate: from all labelled rows to what may train, what may choose, and what may only judge.

    oldest ───────────────────────── change ────────────────────────────────── newest
            history / last_window ─────────── after_change ──┤ validation ┤ holdout

The holdout is the newest part of the rows after the change, the validation the newest part of what remains, and every
training candidate ends before the validation begins: a model is chosen and judged on rows later than those it learned
from, as it will be used. No prediction id is in two of the three.
"""

import hashlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.columns.embeddings import is_list
from monitors.columns.kinds import source_of
from monitors.counting.segments import conditions_of, value_tuples
from monitors.readings import IntArray
from service.training.checkpoints import BoolArray
from service.training.training_errors import NotEnoughRows

HISTORY = 4
"""The candidate `history` holds this many times the rows of `last_window`."""
MOST_HOLDOUT = 1_000
MOST_VALIDATION = 500
LEAST_HOLDOUT = 30
LEAST_VALIDATION = 20
LEAST_TRAINING = 100


@dataclass(frozen=True, eq=False)
class Curated:
    """Training candidates by name, validation and holdout (all in time order), and the account of every row.

    `whole` holds each candidate with nothing held back: the stretch of the same kind that ends with the newest row.
    """

    candidates: Mapping[str, pa.Table]
    whole: Mapping[str, pa.Table]
    validation: pa.Table
    holdout: pa.Table
    manifest: Mapping[str, object] = field(repr=False)


def curate(
    labelled: pa.Table,
    *,
    change_started: datetime | None,
    fault_slices: AbstractSet[int],
    slice_seconds: int,
    holdout_share: float = 0.3,
    validation_share: float = 0.3,
    window_rows: int = 2_000,
    cuts: Sequence[Sequence[str]] = (),
    target: str = "prediction",
) -> Curated:
    """The rows of a retraining.

    `labelled` holds predictions joined with their labels: prediction_id, timestamp, prediction, feature_*, tag_*,
    label, labelled_at. `change_started` (aware) is when the world changed; None (a retraining by hand) takes all rows
    as after it. `fault_slices` are the starts (unix seconds) of slices with broken input: their rows are left out.
    Of several labels of one prediction the last to arrive counts. Segments of `cuts` are counted in the manifest.

    A training row that equals a holdout row in features and label but has another id stays, and is counted: frequent
    inputs are part of the traffic, and a table of few categories has nothing else.

    Raises:
        NotEnoughRows: the holdout, the validation or all candidates would be too small; the message says by how much.
    """
    rows, excluded = _usable(labelled, fault_slices, slice_seconds)
    reasons = ", ".join(f"{n:,} {why}" for why, n in excluded.items() if n) or "none excluded"
    began = 0 if change_started is None else int(np.searchsorted(_microseconds(rows), _micros(change_started)))
    after = rows.num_rows - began
    held = min(round(after * holdout_share), MOST_HOLDOUT)
    tried = min(round((after - held) * validation_share), MOST_VALIDATION)
    if held < LEAST_HOLDOUT or tried < LEAST_VALIDATION:
        needed = _rows_needed(holdout_share, validation_share)
        raise NotEnoughRows("labelled rows after the change", after, needed, reasons)
    end = after + began - held - tried
    candidates = _candidates(rows, began, end, window_rows)
    if not candidates:
        raise NotEnoughRows("labelled rows to train on", end, LEAST_TRAINING, reasons)
    parts = {**candidates, "validation": rows.slice(end, tried), "holdout": rows.slice(end + tried)}
    first = min(end - table.num_rows for table in candidates.values())
    manifest = {
        "rows": labelled.num_rows,
        "excluded": {**excluded, "older_than_every_candidate": first},
        "conflicting": _conflicting(rows),
        "change_started": None if change_started is None else change_started.astimezone(UTC).isoformat(),
        "holdout_copies": _copies(rows, end, held),
        "parts": {name: _account(part, cuts, target) for name, part in parts.items()},
    }
    lengths = _lengths(began, rows.num_rows, window_rows)
    whole = {name: rows.slice(rows.num_rows - lengths[name]) for name in candidates}
    return Curated(candidates, whole, parts["validation"], parts["holdout"], manifest)


def digest_ids(rows: pa.Table) -> str:
    """Hex digest of the prediction ids of the rows, in any order."""
    ids = sorted(rows.column("prediction_id").to_pylist())
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def _usable(labelled: pa.Table, fault_slices: AbstractSet[int], slice_seconds: int) -> tuple[pa.Table, dict[str, int]]:
    """The rows that may be used, in time order, and how many are left out for each reason."""
    excluded = {"without_label": 0, "relabelled": 0, "in_faulty_slice": 0}
    rows = labelled.filter(pa.array(_has_label(labelled)))
    excluded["without_label"] = labelled.num_rows - rows.num_rows
    latest = rows.take(pa.array(_latest(rows)))
    excluded["relabelled"] = rows.num_rows - latest.num_rows
    slices = _microseconds(latest) // 1_000_000 // slice_seconds * slice_seconds
    sound = ~np.isin(slices, np.fromiter(fault_slices, np.int64, len(fault_slices)))
    excluded["in_faulty_slice"] = int((~sound).sum())
    kept = latest.filter(pa.array(sound))
    return kept.sort_by([("timestamp", "ascending"), ("prediction_id", "ascending")]), excluded


def _has_label(rows: pa.Table) -> BoolArray:
    labels = rows.column("label")
    if pa.types.is_floating(labels.type):
        return np.asarray(np.isfinite(labels.to_numpy()), dtype=bool)
    filled = pc.fill_null(pc.cast(labels, pa.string()), "")
    return np.asarray(pc.not_equal(filled, "").to_numpy(), dtype=bool)


def _latest(rows: pa.Table) -> IntArray:
    """The place of each prediction's label that arrived last, in the order of the rows."""
    ids = _codes(rows, ["prediction_id"])
    arrived = _microseconds(rows, "labelled_at") if "labelled_at" in rows.column_names else np.zeros(len(ids))
    order = np.lexsort((arrived, ids))
    is_last = np.append(ids[order][1:] != ids[order][:-1], [True] * bool(len(ids)))
    return np.sort(order[is_last.astype(bool)])


def _candidates(rows: pa.Table, began: int, end: int, window_rows: int) -> dict[str, pa.Table]:
    """Stretches that end where the validation begins; none twice, none too small to learn from."""
    found: dict[str, pa.Table] = {}
    for name, length in _lengths(began, end, window_rows).items():
        if length >= LEAST_TRAINING and all(length != other.num_rows for other in found.values()):
            found[name] = rows.slice(end - length, length)
    return found


def _lengths(began: int, end: int, window_rows: int) -> dict[str, int]:
    return {
        "after_change": end - began,
        "last_window": min(window_rows, end),
        "history": min(HISTORY * window_rows, end),
    }


def _rows_needed(holdout_share: float, validation_share: float) -> int:
    for_validation = LEAST_VALIDATION / (validation_share * (1 - holdout_share))
    return int(np.ceil(max(LEAST_HOLDOUT / holdout_share, for_validation)))


def _conflicting(rows: pa.Table) -> int:
    """Rows whose features equal those of a row with another label."""
    features = [c for c in rows.column_names if c.startswith("feature_")]
    if not features or not rows.num_rows:
        return 0
    alike, whole = _codes(rows, features), _codes(rows, [*features, "label"])
    pairs = np.unique(np.column_stack([alike, whole]), axis=0)
    labels_of_each = np.bincount(pairs[:, 0])
    return int((labels_of_each[alike] > 1).sum())


def _copies(rows: pa.Table, end: int, held: int) -> int:
    """Rows before the validation that equal a holdout row in features and label."""
    whole = _codes(rows, [*(c for c in rows.column_names if c.startswith("feature_")), "label"])
    return int(np.isin(whole[:end], whole[len(whole) - held :]).sum())


def _codes(rows: pa.Table, columns: Sequence[str]) -> IntArray:
    """A number for each row; two rows have the same one exactly where they are equal in the columns."""
    codes = np.zeros(rows.num_rows, dtype=np.int64)
    for column in columns if rows.num_rows else ():
        values = rows.column(column)
        values = _as_bytes(values) if is_list(values.type) else values
        encoded = pc.dictionary_encode(values, null_encoding="encode").combine_chunks()
        width = len(encoded.dictionary) + 1
        mixed = codes * width + encoded.indices.to_numpy(zero_copy_only=False)
        codes = np.unique(mixed, return_inverse=True)[1].astype(np.int64)
    return codes


def _account(part: pa.Table, cuts: Sequence[Sequence[str]], target: str) -> dict[str, object]:
    times = part.column("timestamp")
    segments: dict[str, int] = {}
    for names in cuts:
        tuples, places = value_tuples(part, [source_of(part, name, target) for name in names])
        for value, count in zip(tuples, np.bincount(places, minlength=len(tuples)).tolist(), strict=True):
            segments[",".join(conditions_of(names, value))] = count
    return {
        "rows": part.num_rows,
        "from": pc.min(times).as_py().isoformat(),
        "until": pc.max(times).as_py().isoformat(),
        "digest": digest_ids(part),
        "segments": segments,
    }


def _as_bytes(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each list of numbers as the bytes of its 32-bit floats: equal where the lists are."""
    whole = pc.cast(lists, pa.large_list(pa.float32())).combine_chunks()
    ends = pa.py_buffer(whole.offsets.to_numpy() * 4)
    numbers = pa.py_buffer(np.ascontiguousarray(whole.values.to_numpy(zero_copy_only=False)))
    found = pa.Array.from_buffers(pa.large_binary(), len(whole), [None, ends, numbers])
    return pa.chunked_array([pc.if_else(whole.is_valid(), found, pa.scalar(None, pa.large_binary()))])


def _microseconds(rows: pa.Table, column: str = "timestamp") -> IntArray:
    moments = pc.cast(pc.cast(rows.column(column), pa.timestamp("us", tz="UTC")), pa.int64())
    return np.asarray(pc.fill_null(moments, 0).to_numpy(), dtype=np.int64)


def _micros(moment: datetime) -> int:
    return int(np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us").astype(np.int64))
