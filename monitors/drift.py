"""Drift: how far, and how surely, each column of each segment moved away from the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitors.baselines import Baseline, smoothed
from monitors.evidence import (
    ORDERED_WEIGHTS,
    distribution_evidence_ln,
    location_and_scale,
    mean_of,
    shift_evidence_ln,
    stiffness,
)
from monitors.layouts import Layout
from monitors.readings import DriftReadings, FloatArray, IntArray
from monitors.statistics import ORDERED, STATISTICS, corrected
from monitors.windows import Windows, rung_of
from monitors.wobble import INFLATION

FEWEST_ROWS = 30
FEWEST_BASELINE_ROWS = 500
SIZED_ROWS = 200


@dataclass(frozen=True, eq=False)
class Reference:
    """Columns of similar width together: `columns` [C'], `shares` [S, C', B] padded with zeros, `bins` [C']."""

    columns: IntArray
    ordered: bool
    shares: FloatArray
    bins: IntArray


def references(baseline: Baseline) -> list[Reference]:
    """The baseline's smoothed shares, grouped so that columns of one width are read in one go."""
    layout = baseline.layout
    groups: dict[tuple[bool, int], list[int]] = {}
    for c, column in enumerate(layout.columns):
        groups.setdefault((column.kind == "number", max(4, 1 << (column.bins - 1).bit_length())), []).append(c)
    found = []
    for (ordered, width), columns in groups.items():
        shares = np.zeros((len(layout.segments), len(columns), width))
        for at, c in enumerate(columns):
            shares[:, at, : layout.columns[c].bins] = smoothed(layout, baseline.counts, c)
        bins = np.asarray([layout.columns[c].bins for c in columns])
        found.append(Reference(np.asarray(columns), ordered, shares, bins))
    return found


def read_drift(
    baseline: Baseline, prepared: Sequence[Reference], windows: Windows, statistics: Mapping[str, str], default: str
) -> DriftReadings:
    """Size and evidence for S segments x C columns.

    Args:
        baseline: of the model version that made the predictions.
        prepared: its `references`.
        windows: over the profiles of closed slices.
        statistics: column → statistic, where it is not the default one.
        default: a name of `STATISTICS`; ordered ones are read as TVD on categories.
    """
    layout = baseline.layout
    segments, columns = len(layout.segments), len(layout.columns)
    names = tuple(_statistic_of(layout, c, statistics, default) for c in range(columns))
    evidence = np.full((len(windows.lengths), segments, columns), np.nan)
    rows = np.zeros_like(evidence)
    unread_columns = [c for c, column in enumerate(layout.columns) if column.name in baseline.unread]
    for reference in prepared:
        counts = _padded(layout, windows.counts, reference)
        evidence[..., reference.columns] = _evidence(baseline, reference, counts, windows.lengths)
        rows[..., reference.columns] = counts.sum(axis=-1)
    evidence[..., unread_columns] = np.nan
    read = (rows >= FEWEST_ROWS) & np.isfinite(evidence)
    # A short window's size is mostly noise: the strongest of the windows with enough rows, where there is one.
    sized = read & ((rows >= SIZED_ROWS) | (rows.max(axis=0) < SIZED_ROWS))
    strongest = np.where(sized, evidence, -np.inf).argmax(axis=0)
    by_column = np.where(read.any(axis=0), mean_of(np.where(read, evidence, 0.0), 0), np.nan)
    size, uncorrected = _sizes(baseline, windows, names, strongest)
    unread = np.isnan(by_column)
    usable = ~unread.all(axis=1)
    by_segment = np.full(segments, np.nan)
    weights = np.where(unread[usable], 0.0, 1.0)
    by_segment[usable] = mean_of(np.nan_to_num(by_column[usable]), 1, weights)
    return DriftReadings(
        columns=tuple(c.name for c in layout.columns),
        statistics=names,
        size=np.where(unread, np.nan, size),
        uncorrected=np.where(unread, np.nan, uncorrected),
        evidence_ln=by_column,
        window_start=np.where(unread, np.datetime64("NaT"), windows.began[strongest]),
        segment_evidence_ln=by_segment,
    )


def noise(baseline: Baseline, lengths: IntArray, rows: FloatArray, column: IntArray | int) -> FloatArray:
    """Wobble rho of windows [R, S, ...] in units of p(1 - p): what the baseline learnt, and inflated sampling."""
    learnt = baseline.wobble[rung_of(lengths, baseline.rungs)][:, :, column]
    return np.asarray((INFLATION - 1) / np.maximum(rows - 1, 1) + learnt)


def _evidence(baseline: Baseline, reference: Reference, counts: FloatArray, lengths: IntArray) -> FloatArray:
    own_rows = np.stack(
        [baseline.layout.column_bins(baseline.counts, int(c)).sum(axis=-1) for c in reference.columns], axis=-1
    )
    rows = counts.sum(axis=-1)
    kappa = stiffness(own_rows, reference.bins, noise(baseline, lengths, rows, reference.columns))
    evidence = distribution_evidence_ln(counts, reference.shares, kappa)
    if reference.ordered:
        rung = rung_of(lengths, baseline.rungs)
        learnt = baseline.score_wobble[rung][:, :, reference.columns]
        sampling = 1 / np.maximum(rows, 1)
        parts = [evidence]
        for moment, distance in enumerate(location_and_scale(counts, reference.shares)):
            variance = np.maximum(sampling + 1 / kappa, INFLATION * sampling + learnt[..., moment])
            parts.append(shift_evidence_ln(distance, variance))
        weights = np.broadcast_to(np.asarray(ORDERED_WEIGHTS)[:, None, None, None], (3, *evidence.shape))
        evidence = mean_of(np.stack(parts), 0, np.ascontiguousarray(weights))
    return np.where(own_rows >= FEWEST_BASELINE_ROWS, evidence, np.nan)


def _sizes(
    baseline: Baseline, windows: Windows, names: Sequence[str], strongest: IntArray
) -> tuple[FloatArray, FloatArray]:
    layout = baseline.layout
    segments = np.arange(len(layout.segments))
    size, uncorrected = np.zeros(strongest.shape), np.zeros(strongest.shape)
    for c, name in enumerate(names):
        rung = strongest[:, c]
        current = layout.column_bins(windows.counts[rung, segments], c)
        before = layout.column_bins(baseline.counts, c)
        rows, baseline_rows = current.sum(axis=-1), np.maximum(before.sum(axis=-1), 1)
        wobble = baseline.wobble[rung_of(windows.lengths, baseline.rungs)[rung], segments, c]
        expected = (1 + np.maximum(rows - 1, 0) * wobble) / np.maximum(rows, 1) + 1 / baseline_rows
        uncorrected[:, c] = STATISTICS[name](current, before)
        size[:, c] = corrected(name, uncorrected[:, c], expected, smoothed(layout, baseline.counts, c))
    return size, uncorrected


def _padded(layout: Layout, counts: FloatArray, reference: Reference) -> FloatArray:
    padded = np.zeros((*counts.shape[:2], len(reference.columns), reference.shares.shape[-1]))
    for at, c in enumerate(reference.columns):
        padded[:, :, at, : reference.bins[at]] = layout.column_bins(counts, int(c))
    return padded


def _statistic_of(layout: Layout, column: int, statistics: Mapping[str, str], default: str) -> str:
    name = statistics.get(layout.columns[column].name, default)
    return "TVD" if name in ORDERED and layout.columns[column].kind != "number" else name
