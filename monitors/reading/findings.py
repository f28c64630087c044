"""Findings: what a person should know that is neither drift nor a fault. Segments that came or went, and new values.

Sentences hold still while nothing new happens: shares are rounded to one digit, times are those of the last row.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from monitors.baseline.baselines import Baseline
from monitors.baseline.wobble import INFLATION
from monitors.counting.windows import Windows
from monitors.readings import FAULT_KINDS, FloatArray, QualityReadings
from monitors.statistics.evidence import mean_of, rise_evidence_ln, stiffness

BAR_LN = float(np.log(1_000.0))
"""Evidence for a finding, times the segments that could have made one."""
DAY_SLICES = 24
"""A segment may be asleep in a window shorter than this."""
NEW_SHARE = 0.01
"""A tail that grew by less than this is not worth a sentence."""
MOST_TOLD = 20
MOST_NAMES = 5
"""Names of new segments that one sentence tells, the largest."""

Newcomers = Mapping[str, Mapping[str, int]]
"""Names of new segments with their rows, the largest first, by the tail that they are in."""


def read_findings(
    baseline: Baseline,
    profiles: Mapping[int, FloatArray],
    windows: Windows,
    quality: QualityReadings,
    newcomers: Newcomers,
) -> tuple[str, ...]:
    """Plain sentences about vanished and new segments, and new values.

    A segment vanished where that none of n rows is its own is too unlikely, given its share of the baseline; it is new
    where the share of a cut's tail rose. Both by one-sided evidence over the ladder of windows, as data quality has it,
    that reaches 1,000 times the number of segments. New values have no share here, for it moves with every row. What
    columns the rows have is no matter of profiles: whoever counts the rows sees it.

    Args:
        baseline: of the model version that made the predictions.
        profiles: closed slices by start (unix seconds), [S, width] each.
        windows: over the same slices.
        quality: what `read_quality` read of them.
        newcomers: profiles count a tail as one; whoever counted the rows may know names.
    """
    bar = BAR_LN + float(np.log(len(baseline.layout.segments)))
    groups = (
        _vanished(baseline, profiles, windows, bar),
        _new(baseline, windows, newcomers, bar),
        _columns(quality, bar),
    )
    return tuple(sentence for group in groups for sentence in _shortened(group))


def _vanished(baseline: Baseline, profiles: Mapping[int, FloatArray], windows: Windows, bar: float) -> Iterator[str]:
    layout = baseline.layout
    rows, share = windows.counts[..., 0], _shares(baseline)
    is_awake = (windows.lengths >= DAY_SLICES) | (windows.lengths == windows.lengths[-1])
    is_empty = (rows == 0) & is_awake[:, None] & (baseline.rows > 0)
    gone = _is_evident(is_empty, rows[:, :1], rows[:, :1], 1 - share, baseline, bar)
    gone[[0, *(cut.other for cut in layout.cuts)]] = False
    # The parent's sentence speaks for its children too.
    told = np.flatnonzero(gone & ~gone[layout.parents])
    for segment, last in zip(told.tolist(), _last_rows(profiles, told, baseline.slice_seconds), strict=True):
        name, before = layout.segments[segment], _about(share[segment])
        yield f"segment {name} vanished: {before} of the baseline's rows, none {last}"


def _new(baseline: Baseline, windows: Windows, newcomers: Newcomers, bar: float) -> Iterator[str]:
    tails = [cut.other for cut in baseline.layout.cuts]
    rows, share = windows.counts[..., 0], _shares(baseline)
    now = rows / np.maximum(rows[:, :1], 1)
    grown = _is_evident(now - share >= NEW_SHARE, rows, rows[:, :1], share, baseline, bar)
    for segment in (s for s in tails if grown[s]):
        name, before = baseline.layout.segments[segment], _about(baseline.rows[segment] / baseline.rows[0])
        share_now, names = _about(now[-1, segment]), _named(newcomers.get(name, {}))
        yield f"new segments: {share_now} of the rows are in {name}, {before} in the baseline{names and ': '}{names}"


def _columns(quality: QualityReadings, bar: float) -> Iterator[str]:
    evident = quality.evidence_ln[0] >= bar
    for column, kind in np.argwhere(evident).tolist():
        if FAULT_KINDS[kind] == "unseen":
            yield f"column {quality.columns[column]} has new values, which the baseline never had"


def _is_evident(
    where: NDArray[np.bool_], hits: FloatArray, rows: FloatArray, share: FloatArray, baseline: Baseline, bar: float
) -> NDArray[np.bool_]:
    """Which segments [S] have evidence that a share rose, from the windows [R, S] that may speak."""
    evidence = np.zeros(where.shape)
    h, n, p = (np.broadcast_to(x, where.shape)[where] for x in (hits, rows, share))
    kappa = stiffness(baseline.rows[:1], 1, (INFLATION - 1) / np.maximum(n - 1, 1))
    evidence[where] = rise_evidence_ln(h, n, p, kappa)
    return np.asarray(mean_of(evidence, 0) >= bar)


def _shares(baseline: Baseline) -> FloatArray:
    return np.asarray((baseline.rows + 0.5) / (baseline.rows[0] + 1))


def _last_rows(profiles: Mapping[int, FloatArray], segments: NDArray[np.intp], slice_seconds: int) -> Iterator[str]:
    """When each segment had its last row: the end of the slice that holds it."""
    ends = np.zeros(len(segments), dtype=np.int64)
    for start in sorted(profiles):
        ends[profiles[start][segments, 0] > 0] = start + slice_seconds
    for end in ends.tolist():
        yield f"since {datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC" if end else "of those counted"


def _about(share: float) -> str:
    """A share in per cent, to one digit, so that it holds still.

    >>> _about(0.287), _about(0.0123), _about(0.00004), _about(0.96), _about(0.0)
    ('about 30 %', 'about 1 %', 'under 0.1 %', 'about 100 %', 'none')
    """
    if share <= 0:
        return "none"
    return f"about {float(f'{100 * share:.1g}'):g} %" if share >= 0.001 else "under 0.1 %"


def _named(rows: Mapping[str, int]) -> str:
    """The largest, and how many more there are.

    >>> _named({"channel=app": 1240, "channel=kiosk": 3})
    'channel=app (1,240 rows), channel=kiosk (3 rows)'
    """
    told = [f"{name} ({count:,} rows)" for name, count in list(rows.items())[:MOST_NAMES]]
    more = [f"{len(rows) - MOST_NAMES} more"] if len(rows) > MOST_NAMES else []
    return ", ".join([*told, *more])


def _shortened(sentences: Iterable[str]) -> Iterator[str]:
    """The first `MOST_TOLD`, and how many more there are."""
    told = list(sentences)
    yield from told[:MOST_TOLD]
    if len(told) > MOST_TOLD:
        yield f"{len(told) - MOST_TOLD} more like the one before"
