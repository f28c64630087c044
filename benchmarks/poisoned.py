"""Poisoned trainers, each through a whole retraining: how did it end, and was anything released?

    python benchmarks/poisoned.py [--only WORD]

A model whose world turns round at a row is retrained by a command that does wrong in one way; between them a good
trainer is tried on the same rows, and has to be released at the end. Nothing here is random but the rows, seed 0.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from machine import described

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from poisons import CHANGE, GOOD, POISONS, Poison, retrain
from test_replay import rows
from test_retrain import open_shop


def main() -> int:
    """0 where each poison ended as it has to and only the good trainer was released."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="poisons with this word in their name")
    only = parser.parse_args().only
    print(described())
    print(f"{'poison':38}  {'ended':8}  {'s':>5}  why")
    as_expected = True
    with (
        tempfile.TemporaryDirectory(prefix="poisoned-") as folder,
        open_shop(Path(folder), rows(3000, flips_at=CHANGE)) as shop,
    ):
        shop.serve(1000, 3000)
        ledger, poisons = shop.house.ledger, {name: each for name, each in POISONS.items() if only in name}
        for number, (name, poison) in enumerate(poisons.items()):
            began = perf_counter()
            done = retrain(shop, number, poison)
            as_expected &= done.state == poison.state and poison.reason in done.note
            print(f"{name:38}  {done.state:8}  {perf_counter() - began:5.1f}  {_short(done.note, folder)}", flush=True)
        released = [each for each in ledger.releases("flip") if each.kind == "release"]
        print(f"{len(poisons)} poisons, {len(released)} released; the champion is version {ledger.champion('flip')}")
        control = retrain(shop, len(POISONS), Poison(GOOD, "released", ""))
        print(f"control, a good trainer: {control.state}, version {ledger.champion('flip')}")
    return int(not as_expected or bool(released) or control.state != "released")


def _short(note: str, folder: str) -> str:
    """The beginning and the end of a note, without where it happened to be."""
    text = " ".join(re.sub(rf"{re.escape(folder)}[^ ]*/", "", note).split())
    return text if len(text) <= 150 else f"{text[:80]} … {text[-67:]}"


if __name__ == "__main__":
    sys.exit(main())
