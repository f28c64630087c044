"""Evidence report: what Evidently shows a person about the rows behind a decision. It never takes the decision.

This is the only door to Evidently, which takes seconds to import and about one more a report: `prepare` writes what it
needs to a folder, `start` runs it as a child process, away from the request path and at a low priority.

In the folder: `reference.parquet`, `current.parquet`, `columns.json` (from `prepare`); `report.html`, `report.json`
(from `run`, both complete once `report.json` is there); `report.log` (what the child said). The same child reads
which columns together made the change, where that was prepared: see `service.evidence.together`.
"""

import json
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitors.columns.kinds import bare_name, infer_kind
from monitors.columns.numeric import numbers
from monitors.columns.values import text_of
from monitors.counting.segments import OTHER
from service.errors import ServiceError
from service.evidence import together

_log = logging.getLogger(__name__)

ROWS = 2_000
"""Rows of a side at most: enough for any picture, and the report stays near one second and 4 MB."""
CATEGORIES = 30
DEFAULT_STATISTIC = "psi"
_FOR_NUMBERS = ("psi", "jensenshannon", "hellinger", "kl_div", "wasserstein", "ks")
_FOR_CATEGORIES = ("psi", "jensenshannon", "hellinger", "kl_div", "chisquare", "TVD")

_NO_KINDS: Mapping[str, str] = MappingProxyType({})


class NothingToShow(ServiceError):
    """No column has values on both sides."""

    def __init__(self, left_out: Mapping[str, str]) -> None:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items()) or "there are no columns"
        super().__init__(f"no column can be compared ({reasons})")
        self.left_out = dict(left_out)


def prepare(
    folder: Path,
    reference: pa.Table,
    current: pa.Table,
    columns: Mapping[str, str] = _NO_KINDS,
    *,
    statistic: str = DEFAULT_STATISTIC,
    seed: int = 0,
) -> Mapping[str, str]:
    """Writes a bounded sample of both tables for `run`; gives the columns left out, with the reason.

    The tables are batches of predictions; `prediction`, `confidence` and `feature_*` are shown. `columns` maps bare
    names to kinds, or to `tag` or `ignore`, which leave a column out; others are inferred from the reference. A text
    is shown by its length, a time by its hour, a category by its largest values. `statistic` is the policy's; where
    it does not exist for a kind of column, psi is shown.

    Raises:
        NothingToShow: no column has values on both sides.
    """
    sides = [_sample(reference, seed), _sample(current, seed + 1)]
    shown: dict[str, tuple[str, list[pa.ChunkedArray]]] = {}
    left_out: dict[str, str] = {}
    for source in reference.column_names:
        name = bare_name(source)
        kind = columns.get(name, "") or infer_kind(reference.column(source))
        if not (source.startswith("feature_") or source in ("prediction", "confidence")) or kind in ("tag", "ignore"):
            continue
        if kind == "embedding":
            left_out[name] = "an embedding has no plain distribution to show"
            continue
        title, plain = _plain(name, kind)
        pair = [_column(side, source, kind) for side in sides]
        if any(column.null_count == len(column) for column in pair):
            left_out[name] = "no values in the reference or in the current rows"
            continue
        shown[title] = (plain, pair if plain == "number" else _largest(pair))
    if not shown:
        raise NothingToShow(left_out)
    folder.mkdir(parents=True, exist_ok=True)
    for place, file in enumerate(("reference.parquet", "current.parquet")):
        pq.write_table(pa.table({title: pair[place] for title, (_, pair) in shown.items()}), folder / file)
    kinds = {title: plain for title, (plain, _) in shown.items()}
    said = {"kinds": kinds, "statistic": statistic, "left_out": left_out}
    (folder / "columns.json").write_text(json.dumps(said, indent=2))
    return left_out


def start(folder: Path) -> "subprocess.Popen[bytes]":
    """Starts `run` on a prepared folder in a child process; its exit code is 0 when the report is there."""
    environment = {**os.environ, "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with (folder / "report.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "service.evidence.evidence_report", str(folder)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def run(folder: Path) -> None:
    """Writes Evidently's drift report of a prepared folder. Call it in a process of its own: it filters warnings."""
    os.environ["DO_NOT_TRACK"] = "1"
    with warnings.catch_warnings():
        # Evidently's and its libraries' deprecations are not ours to mend.
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report  # noqa: PLC0415  it takes seconds to import
        from evidently.presets import DataDriftPreset  # noqa: PLC0415  same

        said = json.loads((folder / "columns.json").read_text())
        kinds, statistic = said["kinds"], said["statistic"]
        definition = DataDefinition(
            numerical_columns=[name for name, kind in kinds.items() if kind == "number"],
            categorical_columns=[name for name, kind in kinds.items() if kind == "category"],
        )
        reference, current = (
            Dataset.from_pandas(pq.read_table(folder / file).to_pandas(), data_definition=definition)
            for file in ("reference.parquet", "current.parquet")
        )
        drift = DataDriftPreset(
            num_method=statistic if statistic in _FOR_NUMBERS else DEFAULT_STATISTIC,
            cat_method=statistic if statistic in _FOR_CATEGORIES else DEFAULT_STATISTIC,
        )
        snapshot = Report([drift]).run(current, reference)
        _replace(folder / "report.html", _on_top(together.read(folder), snapshot.get_html_str(as_iframe=False)))
        _replace(folder / "report.json", snapshot.json())


def _explain(folder: Path) -> None:
    """Which columns together, where it can be read: the report is worth having without."""
    try:
        together.run(folder)
    except Exception:  # noqa: BLE001  whatever it is, the report is worth having without
        _log.exception("which columns together is not known")


def _on_top(found: together.Together | None, html: str) -> str:
    """The report's page, begun with what is known of its columns together."""
    head = re.search(r"</head>\s*<body>", html)
    if found is None or head is None:
        return html
    return f"{html[: head.end()]}\n{together.as_html(found)}{html[head.end() :]}"


def _replace(file: Path, text: str) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(file)


def _sample(table: pa.Table, seed: int) -> pa.Table:
    if table.num_rows <= ROWS:
        return table
    chosen = np.random.default_rng(seed).choice(table.num_rows, ROWS, replace=False)
    return table.take(pa.array(np.sort(chosen)))


def _plain(name: str, kind: str) -> tuple[str, str]:
    """The title and the kind under which a column is shown."""
    derived = {"text": f"{name} (characters)", "time": f"{name} (hour)"}
    return derived.get(kind, name), "number" if kind in ("number", "text", "time") else "category"


def _column(table: pa.Table, source: str, kind: str) -> pa.ChunkedArray:
    """A column as doubles or strings, null where there is no value."""
    if kind not in ("number", "text", "time"):
        return text_of(table, source)
    values, missing, wrong = numbers(table, source, {"text": "length", "time": "hour"}.get(kind, ""))
    absent = missing | wrong | ~np.isfinite(values)
    return pa.chunked_array([pa.array(values.astype(np.float64), mask=absent)])


def _largest(pair: list[pa.ChunkedArray]) -> list[pa.ChunkedArray]:
    """Both sides with all but the largest categories named `other`."""
    counts = pc.value_counts(
        pc.drop_null(pa.chunked_array([*pair[0].chunks, *pair[1].chunks], pa.string()))
    ).to_pylist()
    if len(counts) <= CATEGORIES:
        return pair
    largest = pa.array(sorted(c["values"] for c in sorted(counts, key=lambda c: -c["counts"])[:CATEGORIES]))
    return [pc.if_else(pc.or_(pc.is_null(c), pc.is_in(c, largest)), c, OTHER) for c in pair]


if __name__ == "__main__":
    with suppress(OSError):
        os.nice(10)
    _explain(Path(sys.argv[1]))
    run(Path(sys.argv[1]))
