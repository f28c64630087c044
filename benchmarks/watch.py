"""The watch alone: how many releases are rolled back by what they lose, and after how many labels.

`python benchmarks/watch.py [SIMULATIONS]`: pairs of models that are right in 85 % of the rows and disagree on 15 %, in
five segments and `all`; a look every 100 labels, up to 3,000. `whole` is the evidence over all rows since the release
alone, `changed` what the watch uses: that, and the rows since some moment.
"""

import math
import sys
from collections.abc import Callable
from statistics import median

import machine
import numpy as np
from numpy.typing import NDArray

from policies.gate import ENOUGH_LN, worse_evidence_ln
from policies.lately import bar_of, regression_ln

ROWS, LOOK, SEGMENTS, DISAGREE, RIGHT = 3_000, 100, 5, 0.15, 0.85
ALLOWED = 0.02
Floats = NDArray[np.float64]
# What the release gains against the version before, in points, from which row on.
CASES = {
    "equal": ((0, 0.0),),
    "loses 2, as allowed": ((0, -2.0),),
    "loses 3": ((0, -3.0),),
    "loses 4": ((0, -4.0),),
    "loses 6": ((0, -6.0),),
    "loses 10": ((0, -10.0),),
    "gains 10, after 1,000 loses 10": ((0, 10.0), (1_000, -10.0)),
    "gains 10, after 2,000 loses 10": ((0, 10.0), (2_000, -10.0)),
}


def draw(rng: np.random.Generator, case: tuple[tuple[int, float], ...]) -> tuple[Floats, Floats]:
    """Right or wrong of the version before and of the release, row by row."""
    before = (rng.random(ROWS) < RIGHT).astype(float)
    gain = np.zeros(ROWS)
    for begin, points in case:
        gain[begin:] = points / 100
    apart = rng.random(ROWS) < DISAGREE
    wins = rng.random(ROWS) < 0.5 + gain / DISAGREE / 2
    return np.where(apart, ~wins, before).astype(float), np.where(apart, wins, before).astype(float)


def labels_until(
    evidence: Callable[[Floats, Floats, float, str], float], before: Floats, now: Floats, segment: NDArray[np.int64]
) -> int | None:
    """Labels until some segment's evidence reaches the bar."""
    bar = bar_of(SEGMENTS + 1)
    for n in range(LOOK, ROWS + 1, LOOK):
        masks = [np.ones(n, bool), *(segment[:n] == s for s in range(SEGMENTS))]
        if any(evidence(before[:n][m], now[:n][m], ALLOWED, "classification") >= bar for m in masks):
            return n
    return None


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print(machine.described())
    print(
        f"{count} releases a line, seed 1; rolled back within {ROWS} labels, and the median of labels until then; the"
    )
    print(
        f"bar is ln 20 + ln {SEGMENTS + 1} = {ENOUGH_LN + math.log(SEGMENTS + 1):.2f}, a loss of 2 points is allowed\n"
    )
    print(f"{'the release':34}{'whole':>16}{'changed':>18}")
    for name, case in CASES.items():
        rng, shown = np.random.default_rng(1), []
        found: dict[str, list[int | None]] = {"whole": [], "changed": []}
        for _ in range(count):
            before, now = draw(rng, case)
            segment = rng.integers(0, SEGMENTS, ROWS)
            found["whole"].append(labels_until(worse_evidence_ln, before, now, segment))
            found["changed"].append(labels_until(regression_ln, before, now, segment))
        for each in found.values():
            known = [n for n in each if n is not None]
            shown.append(f"{len(known) / count:7.0%}{median(known) if known else '-':>9}")
        print(f"{name:34}{shown[0]}{shown[1]:>18}")


if __name__ == "__main__":
    main()
