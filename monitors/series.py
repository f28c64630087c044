"""A series: the readings of one version at many moments, each as `Comparison.read` would have given it then."""

from collections.abc import Mapping
from datetime import UTC, datetime

from monitors.compare import Comparison, Question
from monitors.counting.windows import LATEST, Sums
from monitors.reading.performance import MOST_SLICES
from monitors.reading.quality import VOLUME_SLICES
from monitors.readings import FloatArray, Readings, TwinReading


class Series:
    """Slices of one version, to be read as they were known at any moment, the moments best in the order of time.

    What one moment added up the next one goes on with. An e-value near 1 may be taken for 1: where something is to be
    seen, readings are the same. Not for several threads.
    """

    def __init__(
        self, comparison: Comparison, profiles: Mapping[int, FloatArray], labelled: Mapping[int, FloatArray]
    ) -> None:
        self.comparison = comparison
        self._length = comparison.baseline.slice_seconds
        self._every = Sums(profiles, shape=comparison.baseline.counts.shape)
        self._sound: dict[frozenset[int], Sums] = {frozenset(): self._every}
        self._labelled = Sums(labelled, shape=comparison.baseline.labelled.shape)
        self._oldest = {start: profiles[start] for start in [min(profiles, default=LATEST)] if start in profiles}

    def read(
        self,
        question: Question,
        closed: int,
        labelled_until: int,
        left_out: frozenset[int] = frozenset(),
        twin: TwinReading | None = None,
    ) -> Readings:
        """The readings of slices that start before `closed` (unix seconds), with the labels of predictions made before
        `labelled_until`; without findings.
        """
        windows = self._every.windows(closed)
        recent = self.newest(closed)
        sound = self._without(left_out).windows(closed) if left_out else windows
        # Volume asks when the version began to be counted, and what came in the last day.
        known = {**self._oldest, **recent} if recent else {}
        labelled, total = self.newest_labelled(labelled_until, MOST_SLICES), self.total_labelled(labelled_until)
        at = datetime.fromtimestamp(closed, tz=UTC)
        given = windows, sound, known, labelled, question, at, left_out, twin, total
        return self.comparison.read_windows(*given, is_rough=True)

    def newest(self, closed: int, slices: int = VOLUME_SLICES) -> dict[int, FloatArray]:
        """The last profiles that start before `closed`, by their start."""
        return self._every.newest(closed, slices)

    def newest_labelled(self, until: int, slices: int) -> dict[int, FloatArray]:
        """The last labelled profiles, by their start, of predictions made before `until`: of a slice that is cut there
        the part that is before, for rows come evenly.
        """
        begun = until // self._length * self._length
        found = self._labelled.newest(begun, slices)
        cut = self._labelled.profiles.get(begun)
        return found if cut is None or begun == until else {**found, begun: cut * ((until - begun) / self._length)}

    def total_labelled(self, until: int) -> FloatArray:
        """The sum of all labelled profiles of predictions made before `until`."""
        begun = until // self._length * self._length
        cut = self._labelled.profiles.get(begun)
        whole = self._labelled.total(begun)
        return whole if cut is None or begun == until else whole + cut * ((until - begun) / self._length)

    def rebased(self, comparison: Comparison, since: int) -> "Series":
        """The slices from `since` on, against another baseline of the same layout."""
        profiles, labelled = (
            {s: p for s, p in sums.profiles.items() if s >= since} for sums in (self._every, self._labelled)
        )
        return Series(comparison, profiles, labelled)

    def _without(self, left_out: frozenset[int]) -> Sums:
        """Sums without these slices, from those of the largest part of them that is known."""
        found = self._sound.get(left_out)
        if found is None:
            near = max((known for known in self._sound if known <= left_out), key=len)
            found = self._sound[near].without(left_out - near)
            self._sound = {frozenset(): self._every, near: self._sound[near], left_out: found}
        return found
