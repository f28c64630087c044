import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.evidence_report import ROWS, NothingToShow, prepare, start


def predictions(n: int, *, shift: float = 0.0, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    texts = [" ".join(["word"] * int(k)) for k in rng.integers(3, 12, n)]
    return pa.table(
        {
            "prediction_id": [f"p{i}" for i in range(n)],
            "timestamp": pa.array([datetime(2026, 11, 22, tzinfo=UTC)] * n, pa.timestamp("us", tz="UTC")),
            "prediction": rng.choice(["fit", "returns", "shipping"], n),
            "confidence": rng.random(n),
            "feature_order_value": pa.array(rng.normal(shift, 1, n), mask=rng.random(n) < 0.1),
            "feature_text": [f"{text} {i}" for i, text in enumerate(texts)],
            "feature_shop": [f"shop {i % 100}" for i in range(n)],
            "feature_always": [1.0] * n,
            "feature_gone": pa.nulls(n, pa.float64()),
            "tag_market": rng.choice(["DE", "FR"], n),
        }
    )


def test_the_child_writes_a_report_that_names_the_column_that_moved(tmp_path: Path) -> None:
    left_out = prepare(tmp_path, predictions(600), predictions(400, shift=2.0, seed=1), {"always": "number"})
    assert set(left_out) == {"gone"}
    child = start(tmp_path)
    assert child.wait(timeout=120) == 0, (tmp_path / "report.log").read_text()
    html = (tmp_path / "report.html").read_text()
    assert "order_value" in html
    assert "text (characters)" in html
    metrics = json.loads((tmp_path / "report.json").read_text())["metrics"]
    drifted = next(m["value"] for m in metrics if m["metric_name"].startswith("DriftedColumnsCount"))
    assert drifted["count"] >= 1
    sizes = {m["config"]["column"]: float(m["value"]) for m in metrics if "column" in m.get("config", {})}
    assert sizes["order_value"] > 0.5
    assert sizes["prediction"] < 0.15
    assert not list(tmp_path.glob("*.draft"))


def test_preparing_a_report_never_imports_evidently() -> None:
    looks = "import sys, service.evidence_report; sys.exit('evidently' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", looks], check=False).returncode == 0


def test_the_sample_is_bounded_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    rows = predictions(ROWS + 500)
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        prepare(tmp_path / folder, rows, rows.slice(0, 50), seed=seed)
    first, same, other = (pq.read_table(tmp_path / f / "reference.parquet") for f in "abc")
    assert first.num_rows == ROWS
    assert first.equals(same)
    assert not first.equals(other)
    assert pq.read_table(tmp_path / "a" / "current.parquet").num_rows == 50


def test_ids_tags_and_ignored_columns_are_not_shown(tmp_path: Path) -> None:
    prepare(tmp_path, predictions(100), predictions(100), {"shop": "ignore", "always": "tag"})
    kinds = json.loads((tmp_path / "columns.json").read_text())["kinds"]
    assert kinds == {
        "prediction": "category",
        "confidence": "number",
        "order_value": "number",
        "text (characters)": "number",
    }


def test_a_category_is_shown_by_its_largest_values(tmp_path: Path) -> None:
    prepare(tmp_path, predictions(500), predictions(500), {"shop": "category"})
    shops = set(pq.read_table(tmp_path / "current.parquet")["shop"].to_pylist())
    assert len(shops) == 31
    assert "other" in shops


def test_a_column_that_vanished_is_left_out_with_the_reason(tmp_path: Path) -> None:
    left_out = prepare(tmp_path, predictions(100), predictions(100).drop_columns(["feature_order_value"]))
    assert "no values" in left_out["order_value"]


def test_rows_without_any_value_cannot_be_shown(tmp_path: Path) -> None:
    with pytest.raises(NothingToShow, match="order_value: no values"):
        prepare(tmp_path, predictions(100), predictions(0))
