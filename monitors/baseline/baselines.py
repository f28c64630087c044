"""Baselines: what one model version's predictions look like when all is well. Immutable, with a fingerprint."""

import hashlib
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.baseline.broken import learn_broken_wobble
from monitors.baseline.confusion import learn_confusion
from monitors.baseline.error_wobble import learn_error_wobble
from monitors.baseline.wobble import Wobble, learn, rungs_learnt
from monitors.columns.inference import certainty_of, known_elsewhere
from monitors.counting.labelled import fold_labelled
from monitors.counting.layouts import Layout, from_plain, learn_layout, to_plain
from monitors.counting.profiles import fold
from monitors.counting.segments import MOST_PER_CUT
from monitors.counting.slices import hours_of
from monitors.errors import BaselineMismatch, BaselineTooNew, EmptyBaseline
from monitors.readings import FloatArray

FORMAT = 3
SEASONS = {"none": 0, "hour_of_day": 24, "hour_of_week": 168}
LEAST_SEASON = {"none": 0, "hour_of_day": 14 * 86_400, "hour_of_week": 28 * 86_400}
"""Seconds that a baseline has to span before it knows a season."""
_ARRAYS = ("counts", "labelled", "confusion", "by_hour", "error_wobble", "broken_wobble")
_WOBBLE = ("shares", "scores", "sampling", "directions")

# Bytes can be broken anywhere, and each part of reading them says so in its own way: the frame and the JSON, the zip
# (NotImplementedError: a compression that it does not know), the arrays, the layout made of them.
_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    OSError,
    NotImplementedError,
    BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class Baseline:
    """The reference of one model version, per segment.

    `counts` [S, width] and `labelled` [S, labelled_width] are profiles of all its rows; `slices` how many slices held
    rows, `began` and `ended` the first and the last of them (unix seconds); `unread` are columns whose drift is not
    read, because the baseline's values are not as served. `by_hour` [H, S, width] are its counts by hour of day
    (H = 24) or of week (H = 168), H = 0 without a season. What its slices taught, for the window lengths `rungs` [R]:
    the `wobble` of inputs and outputs, and `error_wobble` [R, S] of the mean error; and `broken_wobble` [S, C, K] of
    the shares of broken values. `confusion` [B, B] counts labelled rows by prediction and label, as `learn_confusion`
    says.
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
    confusion: FloatArray
    by_hour: FloatArray
    wobble: Wobble
    error_wobble: FloatArray
    broken_wobble: FloatArray

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
            BaselineMismatch: the bytes are not of a baseline, or of another format; BaselineTooNew where that is newer.
        """
        try:
            return cls._unpack(data)
        except _UNREADABLE as error:
            raise BaselineMismatch("these bytes are not a stored baseline; build it again") from error

    @classmethod
    def _unpack(cls, data: bytes) -> "Baseline":
        end = 4 + int.from_bytes(data[:4], "big")
        names = json.loads(data[4:end])
        with np.load(io.BytesIO(data[end:]), allow_pickle=False) as packed:
            head = json.loads(packed["head"].tobytes())
            if head["format"] > FORMAT:
                raise BaselineTooNew(
                    f"the baseline has format {head['format']}, this service reads {FORMAT}; run the newer service"
                )
            if head["format"] != FORMAT:
                raise BaselineMismatch(
                    f"the baseline has format {head['format']}, this service reads {FORMAT}; build it again"
                )
            arrays = {name: packed[name] for name in _ARRAYS}
            wobble = Wobble(**{name: packed[f"wobble_{name}"] for name in _WOBBLE})
        layout = from_plain(head["layout"])
        rest = {k: head[k] for k in ("slice_seconds", "slices", "began", "ended")}
        rungs, unread = tuple(head["rungs"]), tuple(head["unread"])
        return cls(**names, **rest, **arrays, wobble=wobble, rungs=rungs, unread=unread, layout=layout)

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
        arrays |= {f"wobble_{name}": getattr(self.wobble, name) for name in _WOBBLE}
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
    season: str = "none",
    out_of_fold: bool = False,
    most_segments: int = MOST_PER_CUT,
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
        season: none, hour_of_day or hour_of_week: windows are compared with the same hours of the baseline, once this
            spans two weeks (hour of day) or four (hour of week).
        out_of_fold: the predictions are by models that learnt from other rows. Their errors are honest; their
            confidences and scores are not those of the model in service, so their drift is not read.
        most_segments: of one cut; the rows of others are counted together in its tail.

    Raises:
        EmptyBaseline: the table has no rows.
        BadColumn: a column cannot be read as the kind it was said to be.
    """
    if not table.num_rows:
        raise EmptyBaseline(f"no rows to build the baseline of {model} {version} from")
    layout = learn_layout(
        table, cuts=cuts, columns=columns or {}, target=target, task=task, most_segments=most_segments
    )
    labelled: dict[int, FloatArray] = {}
    if "label" in table.column_names:
        labelled = fold_labelled(layout, table.filter(pc.is_valid(table.column("label"))), slice_seconds)
    profiles = fold(replace(layout, columns=known_elsewhere(layout.columns, table)), table, slice_seconds)
    unread = certainty_of(layout.columns) if out_of_fold else ()
    return of_profiles(
        layout,
        profiles,
        labelled,
        model=model,
        version=version,
        slice_seconds=slice_seconds,
        season=season,
        unread=unread,
        confusion=learn_confusion(layout, table),
    )


def of_profiles(
    layout: Layout,
    profiles: Mapping[int, FloatArray],
    labelled: Mapping[int, FloatArray],
    *,
    model: str,
    version: str,
    slice_seconds: int = 3600,
    season: str = "none",
    unread: tuple[str, ...] = (),
    confusion: FloatArray | None = None,
) -> Baseline:
    """The baseline of profiles [S, width] and labelled profiles [S, labelled_width] by slice start (unix seconds)."""
    starts = sorted(profiles)
    slices = np.stack([profiles[s] for s in starts])
    spanned = starts[-1] - starts[0] + slice_seconds
    hours = SEASONS[season] if spanned >= LEAST_SEASON[season] else 0
    places = hours_of(starts, hours)
    by_hour = np.zeros((hours, *slices.shape[1:]))
    if hours:
        np.add.at(by_hour, places, slices)
    with_labels = [labelled[s] for s in sorted(labelled)] or [np.zeros((len(layout.segments), layout.labelled_width))]
    counts = slices.sum(axis=0)
    rungs = rungs_learnt(len(starts))
    return Baseline(
        model=model,
        version=version,
        slice_seconds=slice_seconds,
        layout=layout,
        slices=len(starts),
        began=starts[0],
        ended=starts[-1],
        unread=unread,
        rungs=rungs,
        counts=counts,
        labelled=sum(with_labels, start=np.zeros_like(with_labels[0])),
        confusion=np.zeros((0, 0)) if confusion is None else confusion,
        by_hour=by_hour,
        wobble=learn(layout, by_hour, slices, places, rungs),
        error_wobble=learn_error_wobble(layout.labelled_cells, with_labels, rungs),
        broken_wobble=learn_broken_wobble(layout, list(slices)),
    )
