"""Compare: all readings of one model version, for all segments at once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from monitors.baseline.baselines import Baseline
from monitors.baseline.references import Reference, references
from monitors.counting.windows import Windows, add_up
from monitors.errors import BaselineMismatch
from monitors.reading.drift import read_drift, statistic_of
from monitors.reading.findings import Newcomers, read_findings
from monitors.reading.performance import read_performance
from monitors.reading.quality import read_quality, volume_ratio, without_new
from monitors.readings import FAULT_KINDS, DriftReadings, FloatArray, QualityReadings, Readings, TwinReading


@dataclass(frozen=True)
class Question:
    """What a policy wants read: the statistic by column, the statistic of all others, the performance metric, and
    whether to estimate it without labels.
    """

    statistics: Mapping[str, str]
    default_statistic: str
    metric: str
    estimate: bool = True


@dataclass(frozen=True, eq=False)
class Comparison:
    """A baseline made ready for comparing, to be used again at every evaluation."""

    baseline: Baseline
    references: tuple[Reference, ...]

    @classmethod
    def to(cls, baseline: Baseline) -> "Comparison":
        ready = references(baseline.layout, baseline.counts, baseline.by_hour, baseline.wobble.directions)
        return cls(baseline, tuple(ready))

    def read(
        self,
        profiles: Mapping[int, FloatArray],
        labelled: Mapping[int, FloatArray],
        question: Question,
        at: datetime,
        left_out: Collection[int] = (),
        twin: TwinReading | None = None,
        since_release: FloatArray | None = None,
        newcomers: Newcomers | None = None,
    ) -> Readings:
        """All readings at one moment.

        Args:
            profiles: closed slices by start (unix seconds), [S, width] each; slices without rows may be absent.
            labelled: labelled slices, [S, labelled_width] each: all since release, or the newest.
            question: what the policy wants read.
            at: the end of the newest closed slice.
            left_out: slices with a broken feed, which are neither drift nor the model's fault.
            twin: what a fresh model would do, where it was tried.
            since_release: the sum of all labelled profiles, where `labelled` holds only the newest.
            newcomers: names of new segments, where they are known.

        Raises:
            BaselineMismatch: a profile is not of this baseline's layout.
        """
        layout = self.baseline.layout
        segments = len(layout.segments)
        _check_shapes(profiles, (segments, layout.width), "profile")
        _check_shapes(labelled, (segments, layout.labelled_width), "labelled profile")
        windows = add_up(profiles) if profiles else None
        sound = windows
        if left_out and not profiles.keys().isdisjoint(left_out):
            kept = {start: profile for start, profile in profiles.items() if start not in left_out}
            sound = add_up(kept) if kept else None
        read = self.read_windows(windows, sound, profiles, labelled, question, at, left_out, twin, since_release)
        if windows is None:
            return read
        return replace(read, findings=read_findings(self.baseline, profiles, windows, read.quality, newcomers or {}))

    def read_windows(
        self,
        windows: Windows | None,
        sound: Windows | None,
        profiles: Mapping[int, FloatArray],
        labelled: Mapping[int, FloatArray],
        question: Question,
        at: datetime,
        left_out: Collection[int] = (),
        twin: TwinReading | None = None,
        since_release: FloatArray | None = None,
        *,
        is_rough: bool = False,
    ) -> Readings:
        """All readings but the findings, of windows that were added up already: all slices, and those without a fault.

        Of `profiles` the first slice and those of the last day will do; `is_rough` is as for `read_drift`, all else as
        for `read`.
        """
        baseline, layout = self.baseline, self.baseline.layout
        if windows is not None and sound is not None:
            sound = without_new(baseline, sound, windows)
        rows = windows.counts[-1, :, 0] if windows is not None else np.zeros(len(layout.segments))
        return Readings(
            model=baseline.model,
            version=baseline.version,
            baseline=baseline.fingerprint,
            at=at,
            segments=layout.segments,
            parents=layout.parents,
            rows=rows.astype(np.int64),
            baseline_rows=baseline.rows.astype(np.int64),
            last_row_at=_end_of_newest(profiles, baseline.slice_seconds, at),
            drift=self._drift(sound, question, is_rough=is_rough),
            quality=self._quality(windows, profiles, at),
            performance=read_performance(
                baseline, labelled, sound if question.estimate else None, question.metric, left_out, since_release
            ),
            twin=twin,
        )

    def _drift(self, windows: Windows | None, question: Question, *, is_rough: bool) -> DriftReadings:
        if windows is not None:
            asked = question.statistics, question.default_statistic
            return read_drift(self.baseline, self.references, windows, *asked, is_rough=is_rough)
        layout = self.baseline.layout
        unread = np.full((len(layout.segments), len(layout.columns)), np.nan)
        return DriftReadings(
            columns=tuple(c.name for c in layout.columns),
            statistics=tuple(
                statistic_of(layout, c, question.statistics, question.default_statistic)
                for c in range(len(layout.columns))
            ),
            size=unread,
            uncorrected=unread,
            rows=unread,
            borrowed=unread,
            evidence_ln=unread,
            window_start=np.full(unread.shape, np.datetime64("NaT", "s")),
            segment_evidence_ln=unread[:, 0],
        )

    def _quality(self, windows: Windows | None, profiles: Mapping[int, FloatArray], at: datetime) -> QualityReadings:
        layout = self.baseline.layout
        volume = volume_ratio(self.baseline, profiles, int(at.timestamp()))
        if windows is not None:
            return read_quality(self.baseline, windows, volume)
        shape = (len(layout.segments), len(layout.columns), len(FAULT_KINDS))
        zeros = np.zeros(shape)
        return QualityReadings(
            columns=tuple(c.name for c in layout.columns),
            share=zeros,
            expected=zeros,
            evidence_ln=zeros,
            window_start=np.full(shape, np.datetime64("NaT", "s")),
            volume_ratio=volume,
        )


def _check_shapes(profiles: Mapping[int, FloatArray], shape: tuple[int, int], what: str) -> None:
    other = next((p.shape for p in profiles.values() if p.shape != shape), shape)
    if other != shape:
        raise BaselineMismatch(
            f"a {what} has shape {other}, this baseline's have {shape}; fold the rows with its layout"
        )


def _end_of_newest(profiles: Mapping[int, FloatArray], slice_seconds: int, at: datetime) -> datetime | None:
    newest = max(profiles, default=None)
    return None if newest is None else datetime.fromtimestamp(min(newest + slice_seconds, at.timestamp()), tz=at.tzinfo)
