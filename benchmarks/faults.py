"""Injected faults of the car loan stream: each is to be reported as a fault, and none as drift.

The baseline is the reference file. The analysis file is read slice by slice as the service reads it, faulty slices left
out: as it is (the control), and with missing and unseen values injected. From row 25,000 on the loans really are
others, drift that both runs may tell. What only the faulted run tells, or tells before that row, is drift because of a
fault.
Run: python benchmarks/faults.py [FOLDER_OF_THE_STREAMS]
"""

import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import process_time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from machine import described

from monitors.baseline.baselines import Baseline, build
from monitors.compare import Comparison, Question
from monitors.counting.profiles import fold
from monitors.reading.quality import faulty_slices
from monitors.readings import FAULT_KINDS, FloatArray
from policies.assessment import assess
from policies.file.parse import parse
from policies.file.policy import Policy
from service.intake.archive.tables import Roles, as_batch, read_table

DEFAULT = parse("{model: loans, task: {kind: classification}, columns: {id: ignore}}")
STRICT = parse("{model: loans, task: {kind: classification}, columns: {id: ignore}, data_quality: {unseen: 0.005}}")
"""Fewer unseen values were injected than the default asks for: 0.8 to 2 % of the rows, against 5 %."""
SHIFT_AT = 25_000


@dataclass
class Told:
    """What one run reported: the rows at which each fault (column, kind), drift of a column and finding began."""

    faults: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    open_for: dict[tuple[str, str], int] = field(default_factory=dict)
    drift: dict[str, int] = field(default_factory=dict)
    findings: dict[str, int] = field(default_factory=dict)
    milliseconds: float = 0.0


@dataclass(frozen=True)
class Injected:
    """One fault: `count` values of `column` from row `first` to row `last`."""

    column: str
    kind: str
    count: int
    first: int
    last: int


def batch(path: Path) -> pa.Table:
    """The rows as predictions. The file's probability is of class 1, a confidence is of the predicted class."""
    table = read_table(path)
    sure = pc.if_else(pc.equal(table["y_pred"], 1), table["y_pred_proba"], pc.subtract(1.0, table["y_pred_proba"]))
    table = table.set_column(table.column_names.index("y_pred_proba"), "confidence", sure)
    roles = Roles(label="repaid", prediction="y_pred", kinds=DEFAULT.column_kinds())
    return as_batch(path, table, roles, DEFAULT.task.kind, "1")


def injected(sound: pa.Table, broken: pa.Table) -> list[Injected]:
    """What differs between the two files."""
    found = []
    for name in (c for c in broken.column_names if c.startswith("feature_") and c in sound.column_names):
        before, after = sound.column(name), broken.column(name)
        missing = pc.and_(pc.is_null(after), pc.is_valid(before))
        other = pc.fill_null(pc.not_equal(before, after), fill_value=False)
        for kind, rows in (("missing", missing), ("unseen", other)):
            at = np.flatnonzero(rows.to_numpy())
            if len(at):
                found.append(Injected(name.removeprefix("feature_"), kind, len(at), int(at[0]), int(at[-1])))
    return found


def read_all(baseline: Baseline, table: pa.Table, policy: Policy) -> Told:
    """Folds the rows slice by slice and reads at the end of each."""
    told, comparison, question = Told(), Comparison.to(baseline), Question({}, policy.drift.statistic, "accuracy")
    slices = sorted(fold(baseline.layout, table, baseline.slice_seconds).items())
    profiles: dict[int, FloatArray] = {}
    faulty: set[int] = set()
    row, began, before = 0, process_time(), set[tuple[str, str]]()
    for start, profile in slices:
        profiles[start], row = profile, row + int(profile[0, 0])
        at = datetime.fromtimestamp(start + baseline.slice_seconds, UTC)
        readings = comparison.read(profiles, {}, question, at, faulty)
        found = assess(policy, readings, at)
        faulty |= faulty_slices(baseline, profiles, readings.quality, found.quality.cells)
        cells = np.argwhere(found.quality.cells[0]).tolist()
        now = {(readings.quality.columns[c], FAULT_KINDS[k]) for c, k in cells}
        for fault in now:
            told.open_for[fault] = told.open_for.get(fault, 0) + int(profile[0, 0])
            told.faults.setdefault(fault, []).extend([row] * (fault not in before))
        for column in np.flatnonzero(found.drift.drifting[0]):
            told.drift.setdefault(readings.drift.columns[column], row)
        for finding in readings.findings:
            told.findings.setdefault(finding, row)
        before = now
    told.milliseconds = 1000 * (process_time() - began) / len(slices)
    return told


def report(faults: list[Injected], told: Told, rows: int) -> None:
    for fault in faults:
        key = fault.column, fault.kind
        times = told.faults.get(key, [])
        share = told.open_for.get(key, 0) / (rows - times[0]) if times else 0.0
        said = f"from row {times[0]:,} on, open for {share:.1%} of the rows from there" if times else "never"
        print(f"  {fault.column} {fault.kind}: reported {said}")
    others = told.faults.keys() - {(f.column, f.kind) for f in faults}
    print(f"  faults that nobody injected: {', '.join(map(str, sorted(others))) or 'none'}")


def compare(faults: list[Injected], control: Told, told: Told) -> None:
    for column in sorted(control.drift.keys() | told.drift.keys()):
        seen = [f"{t.drift[column]:,}" if column in t.drift else "never" for t in (control, told)]
        print(f"  {column}: {seen[0]} in the control, {seen[1]} with faults")
    false = [c for c, row in told.drift.items() if row < SHIFT_AT or c not in control.drift]
    print(f"  drift because of a fault: {', '.join(false) or 'none'} ({len(faults)} faulted columns)")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "shared" / "data"
    names = ("carloan_reference", "carloan_analysis", "carloan_faulty_analysis")
    reference, sound, broken = (batch(folder / f"{name}.parquet") for name in names)
    kinds = DEFAULT.column_kinds()
    baseline = build(reference, model="loans", version="1", cuts=[], task="classification", columns=kinds)
    faults = injected(sound, broken)
    print(described())
    print("injected:")
    for fault in faults:
        print(f"  {fault.column} {fault.kind}: {fault.count:,} values, rows {fault.first:,} to {fault.last:,}")
    control = read_all(baseline, sound, STRICT)
    print(
        f"control: faults {len(control.faults)}, drift before row {SHIFT_AT:,}: "
        f"{sum(row < SHIFT_AT for row in control.drift.values())} columns"
    )
    for name, policy in (("data_quality: {unseen: 0.005}", STRICT), ("the policy's defaults", DEFAULT)):
        told = read_all(baseline, broken, policy)
        print(f"{name} ({told.milliseconds:.1f} ms a reading):")
        report(faults, told, broken.num_rows)
        compare(faults, control, told)
        for finding, row in told.findings.items():
            print(f"  finding at row {row:,}: {finding}")


if __name__ == "__main__":
    main()
