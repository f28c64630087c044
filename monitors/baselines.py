"""Baselines: what one model version's predictions look like when all is well. Immutable, with a fingerprint."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.errors import BaselineMismatch, EmptyBaseline
from monitors.evidence import location_and_scale
from monitors.labelled import fold_labelled
from monitors.layouts import Layout, from_plain, learn_layout, to_plain
from monitors.profiles import fold
from monitors.readings import FloatArray
from monitors.wobble import blocks, count_wobble, fill, mean_wobble, rungs_learnt

FORMAT = 2
_ARRAYS = ("counts", "labelled", "wobble", "score_wobble", "error_wobble")


@dataclass(frozen=True, eq=False)
class Baseline:
    """The reference of one model version, per segment.

    `counts` [S, width] and `labelled` [S, labelled_width] are profiles of all its rows; `slices` how many slices held
    rows, `began` and `ended` the first and the last of them (unix seconds); `unread` are columns whose drift is not
    read, because the baseline's values are not as served. What its slices taught, for the window lengths `rungs` [R]:
    `wobble` [R, S, C] of the shares, `score_wobble` [R, S, C, 2] of location and scale, and `error_wobble` [R, S] of
    the share of wrong predictions.
    """

    model: str
    version: str
    slice_seconds: int
    layout: Layout
    slices: int
    began: int
    ended: int
    unread: tuple[str, ...]
    rungs: tuple[int, ...]
    counts: FloatArray
    labelled: FloatArray
    wobble: FloatArray
    score_wobble: FloatArray
    error_wobble: FloatArray

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything in it but the model's and version's names."""
        return hashlib.sha256(self._pack()).hexdigest()

    @property
    def rows(self) -> FloatArray:
        """Rows per segment [S]."""
        return np.asarray(self.counts[:, 0])

    @property
    def has_labels(self) -> bool:
        return bool(self.labelled[0, 0] > 0)

    def to_bytes(self) -> bytes:
        """For the store; read back with `from_bytes`."""
        names = json.dumps({"model": self.model, "version": self.version}).encode()
        return len(names).to_bytes(4, "big") + names + self._pack()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Baseline":
        """The baseline that `to_bytes` gave.

        Raises:
            BaselineMismatch: the bytes are not of a baseline, or of another format.
        """
        try:
            end = 4 + int.from_bytes(data[:4], "big")
            names = json.loads(data[4:end])
            with np.load(io.BytesIO(data[end:]), allow_pickle=False) as packed:
                head = json.loads(packed["head"].tobytes())
                arrays = {name: packed[name] for name in _ARRAYS}
        except (ValueError, KeyError, OSError) as error:
            raise BaselineMismatch("these bytes are not a stored baseline; build it again") from error
        if head["format"] != FORMAT:
            raise BaselineMismatch(
                f"the baseline has format {head['format']}, this service reads {FORMAT}; build it again"
            )
        layout = from_plain(head["layout"])
        rest = {k: head[k] for k in ("slice_seconds", "slices", "began", "ended")}
        return cls(**names, **rest, **arrays, rungs=tuple(head["rungs"]), unread=tuple(head["unread"]), layout=layout)

    def _pack(self) -> bytes:
        head = {
            "format": FORMAT,
            "slice_seconds": self.slice_seconds,
            "slices": self.slices,
            "began": self.began,
            "ended": self.ended,
            "rungs": self.rungs,
            "unread": self.unread,
            "layout": to_plain(self.layout),
        }
        out = io.BytesIO()
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        np.savez(out, head=np.frombuffer(json.dumps(head, sort_keys=True).encode(), dtype=np.uint8), **arrays)
        return out.getvalue()


def build(
    table: pa.Table,
    *,
    model: str,
    version: str,
    cuts: Sequence[Sequence[str]],
    task: str,
    columns: Mapping[str, str] | None = None,
    target: str = "prediction",
    slice_seconds: int = 3600,
    out_of_fold: bool = False,
) -> Baseline:
    """The baseline of a batch of predictions, with their `label` where there is one.

    Labels must be of rows that the model did not learn from, or out-of-fold: errors on training rows are too few.

    Args:
        table: a batch of predictions, as everywhere.
        model: whose baseline it is.
        version: of which version.
        cuts: lists of bare column names that segments are cut by.
        task: classification or regression.
        columns: bare name → kind, `tag` or `ignore`, where inference would guess wrong.
        target: another name of the prediction in `cuts`.
        slice_seconds: the grain of counting.
        out_of_fold: the predictions are by models that learnt from other rows. Their errors are honest; their
            confidences are not those of the model in service, so the drift of `confidence` is not read.

    Raises:
        EmptyBaseline: the table has no rows.
        BadColumn: a column cannot be read as the kind it was said to be.
    """
    if not table.num_rows:
        raise EmptyBaseline(f"no rows to build the baseline of {model} {version} from")
    layout = learn_layout(table, cuts=cuts, columns=columns or {}, target=target, task=task)
    by_slice = fold(layout, table, slice_seconds)
    starts = sorted(by_slice)
    counts = np.stack([by_slice[s] for s in starts])
    labelled = np.zeros((1, len(layout.segments), layout.labelled_width))
    if "label" in table.column_names:
        by_slice = fold_labelled(layout, table.filter(pc.is_valid(table.column("label"))), slice_seconds)
        labelled = np.stack([by_slice[s] for s in sorted(by_slice)]) if by_slice else labelled
    rungs = rungs_learnt(len(starts)) or (1,)
    wobble, score_wobble = _learn_wobble(layout, counts, rungs)
    return Baseline(
        model=model,
        version=version,
        slice_seconds=slice_seconds,
        layout=layout,
        slices=len(starts),
        began=starts[0],
        ended=starts[-1],
        unread=("confidence",) if out_of_fold else (),
        rungs=rungs,
        counts=counts.sum(axis=0),
        labelled=labelled.sum(axis=0),
        wobble=wobble,
        score_wobble=score_wobble,
        error_wobble=_learn_error_wobble(layout, labelled, rungs),
    )


def smoothed(layout: Layout, counts: FloatArray, column: int) -> FloatArray:
    """Shares of one column's bins [S, B] with half a row in each bin: (m + 1/2) / (M + B / 2)."""
    bins = layout.column_bins(counts, column) + 0.5
    return np.asarray(bins / bins.sum(axis=-1, keepdims=True))


def _learn_wobble(layout: Layout, counts: FloatArray, rungs: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    shape = (len(rungs), len(layout.segments), len(layout.columns))
    wobble, score_wobble = np.full(shape, np.nan), np.full((*shape, 2), np.nan)
    total = counts.sum(axis=0)
    for r, length in enumerate(rungs):
        windows = blocks(counts, length)
        for c in range(len(layout.columns)):
            bins, shares = layout.column_bins(windows, c), smoothed(layout, total, c)
            wobble[r, :, c] = count_wobble(bins, shares)
            for moment in (0, 1):
                score_wobble[r, :, c, moment] = mean_wobble(
                    bins,
                    lambda w, p=shares, m=moment: location_and_scale(w, p)[m],  # type: ignore[misc]
                )
    return fill(wobble), fill(score_wobble)


def _learn_error_wobble(layout: Layout, labelled: FloatArray, rungs: Sequence[int]) -> FloatArray:
    learnt = np.full((len(rungs), len(layout.segments)), np.nan)
    if layout.task == "regression":
        return fill(learnt)
    right, rows = labelled[..., 1], labelled[..., 0]
    errors = np.stack([right, rows - right], axis=-1)
    shares = errors.sum(axis=0) + 0.5
    shares = shares / shares.sum(axis=-1, keepdims=True)
    for r, length in enumerate(rungs):
        if len(errors) // length:
            learnt[r] = count_wobble(blocks(errors, length), shares)
    return fill(learnt)
