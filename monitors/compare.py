"""Compare: all readings of one model version, for all segments at once."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from monitors.baselines import Baseline
from monitors.drift import Reference, read_drift, references
from monitors.performance import read_performance
from monitors.quality import read_quality, volume_ratio
from monitors.readings import FAULT_KINDS, DriftReadings, FloatArray, QualityReadings, Readings, TwinReading
from monitors.segments import OTHER
from monitors.windows import Windows, add_up

_VANISHED_ROWS = 50
_NEW_SHARE = 0.01


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
        return cls(baseline, tuple(references(baseline)))

    def read(
        self,
        profiles: Mapping[int, FloatArray],
        labelled: Mapping[int, FloatArray],
        question: Question,
        at: datetime,
        left_out: Collection[int] = (),
        twin: TwinReading | None = None,
        since_release: FloatArray | None = None,
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
        """
        baseline, layout = self.baseline, self.baseline.layout
        segments = len(layout.segments)
        windows = add_up(profiles) if profiles else None
        sound = {start: profile for start, profile in profiles.items() if start not in left_out}
        sound_windows = add_up(sound) if sound else None
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
            quality=self._quality(windows, profiles, at),
            performance=read_performance(
                baseline,
                labelled,
                sound_windows if question.estimate else None,
                question.metric,
                left_out,
                since_release,
            ),
            twin=twin,
            findings=tuple(_findings(baseline, rows)),
        )

    def _drift(self, windows: Windows | None, question: Question) -> DriftReadings:
        if windows is not None:
            asked = question.statistics, question.default_statistic
            return read_drift(self.baseline, self.references, windows, *asked)
        layout = self.baseline.layout
        unread = np.full((len(layout.segments), len(layout.columns)), np.nan)
        return DriftReadings(
            columns=tuple(c.name for c in layout.columns),
            statistics=tuple(question.statistics.get(c.name, question.default_statistic) for c in layout.columns),
            size=unread,
            uncorrected=unread,
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


def _end_of_newest(profiles: Mapping[int, FloatArray], slice_seconds: int, at: datetime) -> datetime | None:
    return datetime.fromtimestamp(max(profiles) + slice_seconds, tz=at.tzinfo) if profiles else None


def _findings(baseline: Baseline, rows: FloatArray) -> Iterable[str]:
    total, before = max(float(rows[0]), 1.0), max(float(baseline.rows[0]), 1.0)
    for i, name in enumerate(baseline.layout.segments):
        usual = baseline.rows[i] / before
        if rows[i] == 0 and usual * rows[0] >= _VANISHED_ROWS:
            yield f"segment {name} vanished: {usual:.1%} of the baseline's rows, none of the last {int(rows[0])}"
        if OTHER in name and rows[i] / total > usual + _NEW_SHARE and rows[i] >= _VANISHED_ROWS:
            yield f"new segments: {rows[i] / total:.1%} of the rows are in {name}, {usual:.1%} in the baseline"
