"""Kill -9 of the api, the worker, the label join, a sender and the store at random; every cell must be as expected.

python benchmarks/kills.py [--kills 1000] [--seeds 0,1,2] [--control]

The kills are spread over the seeds. With --control the commit is done in two steps: the check must find it, each time.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from machine import described

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kill_loop import KillLoop, check


def main() -> int:
    """Play, check, print; 1 where a loop did not end as it must."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--control", action="store_true")
    options = parser.parse_args()
    seeds = [int(text) for text in options.seeds.split(",")]
    print(described())
    mode = "two-steps" if options.control else "whole"
    ends = [_play(seed, -(-options.kills // len(seeds)), mode) for seed in seeds]
    is_good = not any(ends) if options.control else all(ends)
    print("as it must be" if is_good else "NOT as it must be")
    return 0 if is_good else 1


def _play(seed: int, kills: int, mode: str) -> bool:
    """Whether everything was counted once."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, KillLoop(Path(folder), mode) as loop:
        intake, batches = loop.play(kills, seed)
        try:
            check(intake, batches)
            end = "every cell, counter and archived row as expected"
        except AssertionError as error:
            end = "not as expected: " + " ".join(str(error).split())[:160]
    seconds = time.monotonic() - started
    told = ", ".join(f"{role} {count}" for role, count in loop.kills.items())
    print(f"seed {seed}: {sum(loop.kills.values())} kills ({told}) in {seconds:.0f} s, {batches} batches: {end}")
    return end.startswith("every")


if __name__ == "__main__":
    sys.exit(main())
