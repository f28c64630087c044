"""The leader killed, and stopped for longer than its lease, at random moments of a retraining: what was started twice?

python benchmarks/leaders.py [N] [--seed 0] [--control]

N kills -9, then N pauses (SIGSTOP … SIGCONT), of the one that leads among three real scheduler processes on one store.
Each retraining's trainer is a command that notes its name as it starts. With --control the launcher starts whatever it
is told to: the check must find duplicates.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from machine import described

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from leader_loop import Found, LeaderLoop


def main() -> int:
    """Play, check, print; 1 where anything was started twice, or lost (with --control: where nothing was found)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("strikes", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--control", action="store_true")
    options = parser.parse_args()
    print(described(), flush=True)
    mode = "claimless" if options.control else "whole"
    found = [
        _play(mode, options.seed, kills=options.strikes),
        _play(mode, options.seed + 1, pauses=options.strikes),
    ]
    duplicates, missed = (sum(getattr(each, name) for each in found) for name in ("duplicates", "missed"))
    is_good = duplicates > 0 if options.control else duplicates == missed == 0
    print("as it must be" if is_good else "NOT as it must be")
    return 0 if is_good else 1


def _play(mode: str, seed: int, kills: int = 0, pauses: int = 0) -> Found:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, LeaderLoop(Path(folder), mode) as loop:
        found = loop.play(kills, pauses, seed)
    struck = f"{kills} kills" if kills else f"{pauses} pauses"
    what = "a launcher without its claim" if mode == "claimless" else "the launcher as it is"
    print(
        f"seed {seed}: {struck} of the leader, {what}, in {time.monotonic() - begun:.0f} s: "
        f"{len(found.ended)} retrainings, {sum(found.starts.values())} starts: {found.duplicates} duplicate, "
        f"{found.missed} missed",
        flush=True,
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
