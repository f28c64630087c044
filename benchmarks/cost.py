"""What it costs to read: CPU and memory of all statistics and evidence, for many segments and columns.

Each size is read by a process of its own, which loads a stored baseline, so that the memory shown is that of reading.
Run: python benchmarks/cost.py
"""

import resource
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
from machine import described
from traffic import Traffic, Wobbling, layout_of

from monitors.baseline.baselines import Baseline, of_profiles
from monitors.compare import Comparison
from monitors.counting.windows import add_up
from monitors.reading.drift import read_drift
from monitors.statistics.formulas import every
from monitors.statistics.shares import Pair

RUNS = 7


def make(folder: Path, segments: int, columns: int) -> None:
    """A baseline of 10,000 rows a segment, and one slice of 1,000 rows a segment to be compared with it."""
    source = Traffic(layout_of(segments, columns), 1_000, Wobbling(), np.random.default_rng(0))
    baseline = of_profiles(source.layout, dict(source.slices(10)), {}, model="m", version="1")
    (folder / "baseline").write_bytes(baseline.to_bytes())
    np.save(folder / "slice.npy", next(source.slices(1))[1])


def read(folder: Path) -> None:
    """Prints the CPU of one window length, and the largest memory of this process beyond that of its libraries."""
    idle = _peak()
    baseline = Baseline.from_bytes((folder / "baseline").read_bytes())
    comparison, window = Comparison.to(baseline), add_up({0: np.load(folder / "slice.npy")})
    evident, whole = [], []
    for _ in range(RUNS):
        begun = process_time()
        drift = read_drift(baseline, comparison.references, window, {}, "psi")
        evident.append(process_time() - begun)
    peak = _peak()
    for _ in range(RUNS):
        begun = process_time()
        for group in comparison.references:
            every(Pair.plain(group.counts(window.counts[0]), group.counts(baseline.counts)))
        whole.append(process_time() - begun)
    segments, columns = drift.size.shape
    series = int(np.isfinite(drift.evidence_ln).sum())
    print(f"{segments - 2} segments x {columns} columns, {series} series, medians of {RUNS}:")
    print(f"  size and evidence {median(evident) * 1e3:,.1f} ms of CPU a window length, memory {peak - idle:,.0f} MB")
    print(f"  (the process {peak:,.0f} MB, of which {idle:,.0f} MB Python and its libraries)")
    print(f"  all nine statistics as Evidently defines them: {median(whole) * 1e3:,.1f} ms more", flush=True)


def _peak() -> float:
    """The largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    asked = sys.argv[1:]
    if asked[:1] == ["make"]:
        make(Path(asked[1]), int(asked[2]), int(asked[3]))
    elif asked[:1] == ["read"]:
        read(Path(asked[1]))
    else:
        print(described(), flush=True)
        for size in (("50", "20"), ("10000", "50")):
            with TemporaryDirectory() as folder:
                subprocess.run([sys.executable, __file__, "make", folder, *size], check=True)
                subprocess.run([sys.executable, __file__, "read", folder], check=True)


if __name__ == "__main__":
    main()
