"""Compare: all readings of one model version, for all segments at once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
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
        baseline, layout = self.baseline, self.baseline.layout
        segments = len(layout.segments)
        _check_shapes(profiles, (segments, layout.width), "profile")
        _check_shapes(labelled, (segments, layout.labelled_width), "labelled profile")
        windows = add_up(profiles) if profiles else None
        sound_windows = self._sound(windows, profiles, left_out) if windows is not None else None
        quality = self._quality(windows, profiles, at)
        rows = windows.counts[-1, :, 0] if windows is not None else np.zeros(segments)
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
            drift=self._drift(sound_windows, question),
            quality=quality,
            performance=read_performance(
                baseline,
                labelled,
                sound_windows if question.estimate else None,
                question.metric,
                left_out,
                since_release,
            ),
            twin=twin,
            findings=read_findings(baseline, profiles, windows, quality, newcomers or {}) if windows else (),
        )

    def _sound(self, windows: Windows, profiles: Mapping[int, FloatArray], left_out: Collection[int]) -> Windows | None:
        """The windows without broken slices, and without the values that are a fault."""
        sound = {start: profile for start, profile in profiles.items() if start not in left_out}
        if not sound:
            return None
        return without_new(self.baseline, add_up(sound) if len(sound) < len(profiles) else windows, windows)

    def _drift(self, windows: Windows | None, question: Question) -> DriftReadings:
        if windows is not None:
            asked = question.statistics, question.default_statistic
            return read_drift(self.baseline, self.references, windows, *asked)
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
