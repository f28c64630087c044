"""Performance: with labels how much worse, how surely and since when; without labels what to expect."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from monitors.baseline.baselines import Baseline
from monitors.counting.labelled_cells import LabelledCells
from monitors.counting.scores import METRICS, loss_sums
from monitors.counting.slices import as_time, ladder
from monitors.counting.windows import Windows, rung_of
from monitors.reading.attribution import attribute
from monitors.reading.estimates import estimate, rows_of_now
from monitors.reading.label_shift import read_label_shift
from monitors.reading.rises import rose_ln
from monitors.readings import FloatArray, IntArray, PerformanceReadings
from monitors.statistics.evidence import mean_of

FEWEST_LABELS = 30
FEWEST_SINCE_CHANGE = 50
MOST_SLICES = 1_024
"""Labelled slices looked at one by one; older ones are a part of what the newest are compared with."""


@dataclass(frozen=True, eq=False)
class _Labelled:
    """Labelled slices, newest first: totals [T, S, cells.totals] summed from the newest up to and with each slice.

    Only the totals are held for every slice: the other cells of a profile are many, and needed of one window.
    """

    cells: LabelledCells
    starts: IntArray
    slices: tuple[FloatArray, ...]
    window: FloatArray
    older: FloatArray

    def until(self, last: IntArray) -> FloatArray:
        """Whole profiles [S, labelled_width] from the newest slice up to and with slice `last` [S] of each segment."""
        total, sum_of = np.zeros_like(self.slices[0]), np.zeros_like(self.slices[0])
        begun = 0
        for end in np.unique(last).tolist():
            for counts in self.slices[begun : end + 1]:
                sum_of += counts
            total[last == end] = sum_of[last == end]
            begun = end + 1
        return total


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
        windows: over the profiles, for what is read without labels; None where no row came.
        metric: a name of `METRICS`.
        left_out: slices that are not the model's fault (broken feeds).
        since_release: the sum of all labelled profiles since release, where `labelled` holds only the newest.
    """
    held = np.zeros_like(baseline.labelled)
    for counts in labelled.values():
        held += counts
    older = baseline.labelled if since_release is None else baseline.labelled + since_release - held
    starts = sorted((s for s in labelled if s not in left_out), reverse=True)
    read = _unread(baseline, older, metric)
    if starts and (older[0, 0] or len(starts) > 1):
        read = _with_labels(baseline, labelled, starts, older, metric)
    if windows is None:
        return read
    expected, drop = estimate(baseline.layout, metric, older + held, baseline.counts, windows)
    shift = read_label_shift(baseline.layout, baseline.confusion, rows_of_now(windows)[0])
    return replace(read, estimate=expected, estimated_drop=drop, label_shift=shift)


def _unread(baseline: Baseline, older: FloatArray, metric: str) -> PerformanceReadings:
    segments = len(baseline.layout.segments)
    nothing, zeros = np.full(segments, np.nan), np.zeros(segments, dtype=np.int64)
    return PerformanceReadings(
        metric=metric,
        labelled=zeros,
        value=nothing,
        expected=METRICS[metric].score(baseline.layout.labelled_cells, older),
        drop=nothing,
        evidence_ln=nothing,
        window_start=np.full(segments, np.datetime64("NaT", "s")),
        labelled_since_change=zeros,
        covariate_part=nothing,
        concept_part=nothing,
        estimate=nothing,
        estimated_drop=nothing,
        label_shift=None,
    )


def _with_labels(
    baseline: Baseline, labelled: Mapping[int, FloatArray], starts: list[int], before: FloatArray, metric: str
) -> PerformanceReadings:
    cells, how = baseline.layout.labelled_cells, METRICS[metric]
    slices = tuple(labelled[start] for start in starts)
    everything = before + sum(slices)
    window = np.cumsum([counts[:, : cells.totals] for counts in slices], axis=0)
    totals = _Labelled(cells, np.asarray(starts), slices, window, everything[:, : cells.totals] - window)
    since = _change_point(totals, how.evidence)
    after = totals.until(since)
    earlier = everything - after
    value, expected = how.score(cells, after), how.score(cells, earlier)
    covariate, concept = attribute(cells, metric, after, earlier, baseline.layout.parents)
    rows = after[:, 0].astype(np.int64)
    return replace(
        _unread(baseline, before, metric),
        labelled=rows,
        value=value,
        expected=expected,
        drop=how.drop(expected, value),
        evidence_ln=_evidence(baseline, totals, how.evidence),
        window_start=as_time(totals.starts[since]),
        labelled_since_change=rows,
        covariate_part=covariate,
        concept_part=concept,
    )


def _evidence(baseline: Baseline, read: _Labelled, loss: str) -> FloatArray:
    """One-sided evidence [S], over the ladder, that the newest labels are worse than all older ones."""
    lengths = np.asarray(ladder(len(read.starts)), dtype=np.int64)
    now, usual = (loss_sums(read.cells, totals[lengths - 1], loss) for totals in (read.window, read.older))
    readable = (now[0] >= FEWEST_LABELS) & (usual[0] >= FEWEST_LABELS)
    wobble = baseline.error_wobble[rung_of(lengths, baseline.rungs)]
    evidence = rose_ln(now, usual, wobble, loss)
    found = mean_of(np.where(readable, evidence, 0.0), 0)
    return np.where(readable.any(axis=0), found, np.nan)


def _change_point(read: _Labelled, loss: str) -> IntArray:
    """For each segment the slice from which on losses rose: the split of the labels with the largest likelihood.

    Before it the mean loss of everything older, after it its own; only splits with a rise and at least
    `FEWEST_SINCE_CHANGE` labels after them. Source: Page, 1957; Hinkley, 1970.
    """
    after, before = (loss_sums(read.cells, totals, loss) for totals in (read.window, read.older))
    rose = after[1] * np.maximum(before[0], 1) > before[1] * after[0]
    if loss == "error":
        gain = _binomial_ln(*after) + _binomial_ln(*before)
    else:
        rows, rest = np.maximum(after[0], 1), np.maximum(before[0], 1)
        gain = (after[1] / rows - before[1] / rest) ** 2 / (1 / rows + 1 / rest)
    gain = np.where(rose & (after[0] >= FEWEST_SINCE_CHANGE), gain, -np.inf)
    nowhere = ~np.isfinite(gain).any(axis=0)
    return np.where(nowhere, len(read.starts) - 1, gain.argmax(axis=0))


def _binomial_ln(rows: FloatArray, hits: FloatArray, _: FloatArray) -> FloatArray:
    share = np.clip(hits / np.maximum(rows, 1), 1e-12, 1 - 1e-12)
    return np.asarray(hits * np.log(share) + (rows - hits) * np.log(1 - share))
