"""Rebase: what would have been usual after a release that never was.

No profile knows the model that would have been trained. But it would have learnt from the rows since the change, and
its baseline would have been made of them: so the slices since the change stand for it. What has changed by then is
usual from then on, and only a further change asks again.
"""

from collections.abc import Collection
from datetime import datetime

from monitors.baseline.baselines import SEASONS, Baseline, of_profiles
from monitors.counting.slices import LONGEST
from monitors.series import Series

CHANGED_ROWS, CALM_ROWS = 500, 2_000
"""The least rows of a reference: after a known change, and without one. A new model's baseline has as many."""


def rebased(
    series: Series, version: str, change_started: datetime | None, closed: int, left_out: Collection[int]
) -> Baseline:
    """A baseline of the sound slices that start before `closed` (unix seconds), from the change on.

    Where these have too few rows, of so many before them as it takes.
    """
    before = series.comparison.baseline
    since, fewest = (change_started.timestamp(), CHANGED_ROWS) if change_started else (float(closed), CALM_ROWS)
    chosen, rows = {}, 0.0
    for start, profile in sorted(series.newest(closed, LONGEST).items(), reverse=True):
        if start < since and rows >= fewest:
            break
        if start not in left_out:
            chosen[start] = profile
            rows += float(profile[0, 0])
    labelled = series.newest_labelled(closed, LONGEST)
    return of_profiles(
        before.layout,
        chosen,
        {start: labelled[start] for start in chosen if start in labelled},
        model=before.model,
        version=version,
        slice_seconds=before.slice_seconds,
        season=next(name for name, hours in SEASONS.items() if hours == len(before.by_hour)),
        unread=before.unread,
        confusion=before.confusion,
    )
