"""Performance: with labels how much worse, how surely and since when; without labels what to expect."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from monitors.baselines import Baseline
from monitors.evidence import mean_of, rise_evidence_ln, shift_evidence_ln, stiffness
from monitors.layouts import Layout
from monitors.readings import FloatArray, IntArray, PerformanceReadings
from monitors.slices import as_time, ladder
from monitors.windows import Windows, rung_of

FEWEST_LABELS = 30
INFLATION = 1.5
"""Errors are less dependent on each other than inputs are: what they wobble is learnt, and half is added for safety."""
FEWEST_SINCE_CHANGE = 50
MOST_SLICES = 1_024
"""Labelled slices looked at one by one; older ones are a part of what the newest are compared with."""
SHRINK_ROWS = 5
ESTIMATE_ROWS = 500
METRICS = {"classification": ("accuracy", "macro_f1", "precision", "recall"), "regression": ("mae", "rmse")}


@dataclass(frozen=True, eq=False)
class _Labelled:
    """Labelled slices, newest first: `sums` [T, S, labelled_width] summed from the newest up to and with each slice."""

    starts: IntArray
    sums: FloatArray
    before: FloatArray

    @property
    def older(self) -> FloatArray:
        """What lies before each window: the baseline's labels and those since release outside the window."""
        return np.asarray(self.before + self.sums[-1] - self.sums)


def read_performance(
    baseline: Baseline,
    labelled: Mapping[int, FloatArray],
    windows: Windows | None,
    metric: str,
    left_out: Collection[int] = (),
    since_release: FloatArray | None = None,
) -> PerformanceReadings:
    """Performance of S segments since release, late labels counted in the slice in which the prediction was made.

    Args:
        baseline: of the model version that made the predictions.
        labelled: labelled profiles by slice start, the newest `MOST_SLICES` or all since release.
        windows: over the profiles, for the estimate without labels; None where no row came.
        metric: a name of `METRICS`.
        left_out: slices that are not the model's fault (broken feeds).
        since_release: the sum of all labelled profiles since release, where `labelled` holds only the newest.
    """
    segments = len(baseline.layout.segments)
    nothing = np.full(segments, np.nan)
    held = sum(labelled.values(), start=np.zeros_like(baseline.labelled))
    older = baseline.labelled if since_release is None else baseline.labelled + since_release - held
    estimate, before = _estimate(baseline, older + held, windows) if windows is not None else (nothing, nothing)
    starts = np.asarray(sorted((s for s in labelled if s not in left_out), reverse=True), dtype=np.int64)
    if not len(starts) or not (older[0, 0] or len(starts) > 1):
        zeros, never = np.zeros(segments, dtype=np.int64), np.full(segments, np.datetime64("NaT", "s"))
        return PerformanceReadings(
            metric, zeros, nothing, _metric(baseline.layout, older, metric), nothing, nothing, never, zeros,
            estimate, before - estimate,
        )  # fmt: skip
    read = _Labelled(starts, np.cumsum([labelled[int(s)] for s in starts], axis=0), older)
    evidence = _evidence(baseline, read)
    since = _change_point(baseline.layout, read)
    pick = (since, np.arange(segments))
    value = _metric(baseline.layout, read.sums[pick], metric)
    expected = _metric(baseline.layout, read.older[pick], metric)
    return PerformanceReadings(
        metric=metric,
        labelled=read.sums[pick][:, 0].astype(np.int64),
        value=value,
        expected=expected,
        drop=(value - expected) / expected if baseline.layout.task == "regression" else expected - value,
        evidence_ln=evidence,
        window_start=as_time(read.starts[since]),
        labelled_since_change=read.sums[pick][:, 0].astype(np.int64),
        estimate=estimate,
        estimated_drop=before - estimate,
    )


def _evidence(baseline: Baseline, read: _Labelled) -> FloatArray:
    """One-sided evidence [S], over the ladder, that the newest labels are worse than all older ones."""
    lengths = np.asarray(ladder(len(read.starts)), dtype=np.int64)
    window, older = read.sums[lengths - 1], read.older[lengths - 1]
    rows, before = window[..., 0], older[..., 0]
    readable = (rows >= FEWEST_LABELS) & (before >= FEWEST_LABELS)
    wobble = baseline.error_wobble[rung_of(lengths, baseline.rungs)]
    if baseline.layout.task == "regression":
        evidence = _error_evidence(window, older)
    else:
        share = (before - older[..., 1] + 0.5) / (before + 1)
        kappa = stiffness(before, 1, (INFLATION - 1) / np.maximum(rows - 1, 1) + wobble)
        evidence = rise_evidence_ln(rows - window[..., 1], rows, share, kappa)
    found = mean_of(np.where(readable, evidence, 0.0), 0)
    return np.where(readable.any(axis=0), found, np.nan)


def _error_evidence(window: FloatArray, older: FloatArray) -> FloatArray:
    rows, before = np.maximum(window[..., 0], 1), np.maximum(older[..., 0], 1)
    usual = older[..., 1] / before
    spread = np.sqrt(np.maximum(older[..., 2] / before - usual**2, 1e-12))
    rise = (window[..., 1] / rows - usual) / spread
    evidence = shift_evidence_ln(rise, INFLATION / rows + 1 / before)
    return np.where(rise > 0, evidence, np.minimum(evidence, 0.0))


def _change_point(layout: Layout, read: _Labelled) -> IntArray:
    """For each segment the slice from which on errors rose: the split of the labels with the largest likelihood.

    Before it the error share of everything older, after it its own; only splits with a rise and at least
    `FEWEST_SINCE_CHANGE` labels after them. Source: Page, 1957; Hinkley, 1970.
    """
    after, before = read.sums, read.older
    if layout.task == "regression":
        gain = _normal_gain(after, before)
    else:
        bad_after, bad_before = after[..., 0] - after[..., 1], before[..., 0] - before[..., 1]
        gain = _binomial_ln(bad_after, after[..., 0]) + _binomial_ln(bad_before, before[..., 0])
        rose = bad_after * np.maximum(before[..., 0], 1) > bad_before * after[..., 0]
        gain = np.where(rose, gain, -np.inf)
    gain = np.where(after[..., 0] >= FEWEST_SINCE_CHANGE, gain, -np.inf)
    nowhere = ~np.isfinite(gain).any(axis=0)
    return np.where(nowhere, len(read.starts) - 1, gain.argmax(axis=0))


def _binomial_ln(hits: FloatArray, rows: FloatArray) -> FloatArray:
    share = np.clip(hits / np.maximum(rows, 1), 1e-12, 1 - 1e-12)
    return np.asarray(hits * np.log(share) + (rows - hits) * np.log(1 - share))


def _normal_gain(after: FloatArray, before: FloatArray) -> FloatArray:
    rows, rest = np.maximum(after[..., 0], 1), np.maximum(before[..., 0], 1)
    rise = after[..., 1] / rows - before[..., 1] / rest
    return np.where(rise > 0, rise**2 / (1 / rows + 1 / rest), -np.inf)


def _estimate(baseline: Baseline, known: FloatArray, windows: Windows) -> tuple[FloatArray, FloatArray]:
    """Accuracy to expect now, and in the baseline, from the confidences alone (CBPE).

    accuracy = sum of n_k a_k / n over confidence bins, a_k the share of right predictions seen in bin k, shrunk to the
    segment's. It sees covariate shift and no concept change. Source: NannyML, Confidence-based performance estimation.
    """
    layout = baseline.layout
    column = next((i for i, c in enumerate(layout.columns) if c.name == "confidence"), None)
    if column is None or layout.task == "regression" or not known[0, 0]:
        nothing = np.full(len(layout.segments), np.nan)
        return nothing, nothing
    bins = layout.confidence_cells
    rows, right = known[:, 2 : 2 + bins], known[:, 2 + bins : 2 + 2 * bins]
    overall = (known[:, 1] + SHRINK_ROWS * known[0, 1] / known[0, 0]) / (known[:, 0] + SHRINK_ROWS)
    accuracy = (right + SHRINK_ROWS * overall[:, None]) / (rows + SHRINK_ROWS)
    reach = np.minimum((windows.counts[:, :, 0] < ESTIMATE_ROWS).sum(axis=0), len(windows.lengths) - 1)
    current = windows.counts[reach, np.arange(len(layout.segments))]
    return tuple(  # type: ignore[return-value]
        _expected_accuracy(layout, profile, column, accuracy) for profile in (current, baseline.counts)
    )


def _expected_accuracy(layout: Layout, profile: FloatArray, column: int, accuracy: FloatArray) -> FloatArray:
    without = layout.column_extra(profile, column)[:, :1]
    counts = np.concatenate([layout.column_bins(profile, column), without], axis=1)
    rows = counts.sum(axis=1)
    return np.where(rows > 0, (counts * accuracy).sum(axis=1) / np.maximum(rows, 1), np.nan)


def _metric(layout: Layout, labelled: FloatArray, metric: str) -> FloatArray:
    """A metric [S] of labelled profiles [S, labelled_width]; NaN without labels."""
    rows = labelled[:, 0]
    if layout.task == "regression":
        mean = labelled[:, 1 if metric == "mae" else 2] / np.maximum(rows, 1)
        return np.where(rows > 0, mean if metric == "mae" else np.sqrt(mean), np.nan)
    if metric == "accuracy":
        return np.where(rows > 0, labelled[:, 1] / np.maximum(rows, 1), np.nan)
    classes = len(layout.classes) + 1
    first = 2 + 2 * layout.confidence_cells
    predicted, actual, hit = (labelled[:, first + i * classes : first + (i + 1) * classes] for i in range(3))
    precision = np.where(predicted > 0, hit / np.maximum(predicted, 1), 0.0)
    recall = np.where(actual > 0, hit / np.maximum(actual, 1), 0.0)
    harmonic = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    by_class = {"precision": precision, "recall": recall, "macro_f1": harmonic}[metric]
    there = (actual > 0) | (predicted > 0)
    mean = np.where(there, by_class, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return np.where(rows > 0, mean, np.nan)
