"""Arrivals: what was known at each moment of a past, and when something new came."""

from dataclasses import dataclass
from datetime import timedelta

from policies.file.policy import Policy
from policies.past.past import Reign


@dataclass(frozen=True)
class Arrivals:
    """Slices of `length` close when they are `late` seconds over; labels come `delay` seconds after the predictions,
    evenly. Something is looked at `every` so many seconds.
    """

    length: int
    late: int
    delay: int
    every: int

    @classmethod
    def of(cls, policy: Policy, label_delay: timedelta, slice_seconds: int) -> "Arrivals":
        late, delay, every = (
            int(span.total_seconds()) for span in (policy.window.lateness, label_delay, policy.evaluate)
        )
        return cls(slice_seconds, late, delay, max(1, every))

    def known_at(self, at: int) -> tuple[int, int]:
        """Until where slices are closed, and of the predictions until where labels have come."""
        return (at - self.late) // self.length * self.length, at - self.delay

    def times(self, reign: Reign) -> list[int]:
        """When to look in a reign: where a slice has closed, or labels have come since the last time."""
        first, last = (int(at.timestamp()) for at in (reign.since, reign.until))
        closing = range(first // self.length * self.length + self.late, last + 1, self.length)
        found = {self._next(at) for at in closing}
        for start, counts in reign.labelled.items():
            if counts[0, 0]:
                begin = start + self.delay
                found.update(range(self._next(begin + 1), begin + self.length + self.every, self.every))
        return sorted(at for at in found if first < at <= last)

    def is_news(self, reign: Reign, before: tuple[int, int], now: tuple[int, int]) -> bool:
        """Whether rows or labels are known now that were not before; each a moment, and until where slices were closed.

        A slice that closes empty is none: looking again at what was seen already is no further time in a row.
        """
        (at_before, closed_before), (at, closed) = before, now
        rows = range(closed_before if at_before else closed - self.length, closed, self.length)
        first = (at_before - self.delay) // self.length * self.length if at_before else at - self.delay - self.length
        coming = range(first // self.length * self.length, at - self.delay, self.length)
        return any(
            start in counted and bool(counted[start][0, 0])
            for counted, starts in ((reign.profiles, rows), (reign.labelled, coming))
            for start in starts
        )

    def _next(self, at: int) -> int:
        return -(-at // self.every) * self.every
