import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from houses import HOSTILE, NOON, client_of, give_baseline, ingest, open_shop
from streams import START
from streams import predictions as shop_rows

from monitors.reading.domain import ColumnPart, DomainReading
from service.evidence import evidence_report, together
from service.evidence import reports as evidence
from service.evidence.evidence_report import ROWS, NothingToShow, prepare, start
from service.house import House
from service.ledger.records import DecisionRecord, Evaluation
from service.storage.embedded import Embedded


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
    looks = "import sys, service.evidence.evidence_report; sys.exit('evidently' in sys.modules)"
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


# ---- which columns together

POLICY_THAT_IGNORES_X1 = """
model: shop
owner: ops@shop.example
task: {kind: classification, target: intent}
window: {slice: 1h, lateness: 0s}
drift: {columns: {x1: {ignore: true}}}
"""


@pytest.fixture
def house(server: Embedded, tmp_path: Path) -> Iterator[House]:
    with open_shop(server, tmp_path) as opened:
        give_baseline(opened)
        yield opened


def decide(house: House, *triggers: str) -> DecisionRecord:
    """A decision to retrain, in the ledger, on the rows since the streams begin."""
    since = datetime.fromtimestamp(START, UTC)
    record = DecisionRecord("d-1", "shop", "1", NOON, "retrain", (), {"all": "drifting"}, triggers, since, "p", "b")
    house.ledger.record(Evaluation("shop", "1", at=NOON, action="retrain", decision="d-1"), record, [])
    return record


def explain(house: House, *triggers: str) -> together.Together | None:
    """What is kept of the columns of a decision, without the report, which takes seconds."""
    folder = evidence._prepare(house, decide(house, *triggers))
    assert folder is not None
    together.run(folder)
    return together.read(folder)


def test_a_decision_says_which_column_tells_the_window_from_the_baseline(house: House) -> None:
    ingest(house, shop_rows(1_500, seed=1, shift=2.0))
    found = explain(house, "all")
    assert found is not None
    assert found.sentence.startswith("all: x1 tells the window's rows from the baseline's: AUC 0.9")


def test_the_rows_are_those_of_the_segment_that_asks(house: House) -> None:
    ingest(house, shop_rows(2_500, seed=1, shift=2.0))
    found = explain(house, "group=b")
    assert found is not None
    assert found.segment == "group=b"
    assert found.reading is not None
    assert 300 < found.reading.rows < 800


def test_a_thin_segment_is_explained_by_all(house: House) -> None:
    ingest(house, shop_rows(1_000, seed=1, share_b=0.1))
    found = explain(house, "group=b")
    assert found is not None
    assert found.segment == "all"
    assert found.sentence.startswith("all: nothing tells the window's rows from the baseline's with evidence: AUC 0.")


def test_too_few_rows_are_said_to_be_too_few(house: House) -> None:
    ingest(house, shop_rows(60, seed=1))
    found = explain(house, "all")
    assert found is not None
    assert found.sentence == "all: too few rows to tell the window's from the baseline's."


def test_columns_that_the_policy_ignores_are_not_looked_at(server: Embedded, tmp_path: Path) -> None:
    with open_shop(server, tmp_path, POLICY_THAT_IGNORES_X1) as house:
        give_baseline(house)
        ingest(house, shop_rows(1_000, seed=1, shift=2.0))
        found = explain(house, "all")
    assert found is not None
    assert found.reading is not None
    assert "x1" not in {part.column for part in found.reading.columns}


def test_several_columns_are_named_with_what_each_tells_alone() -> None:
    parts = (ColumnPart("amount", 0.2, 0.55), ColumnPart("channel", 0.2, 0.52), ColumnPart("page", 0.0, None))
    reading = DomainReading(2_000, 0.8, 900, 100, 300.0, parts, ("amount", "channel"), 0.83)
    assert together.Together("all", reading).sentence == (
        "all: amount and channel together tell the window's rows from the baseline's: AUC 0.83; "
        "amount alone 0.55, channel alone 0.52."
    )


def test_the_report_begins_with_the_columns_and_pages_and_routes_have_them_too(house: House) -> None:
    ingest(house, shop_rows(1_000, seed=1, shift=2.0))
    reports = evidence.Reports()
    reports.ask(house, decide(house, "all"))
    reports.wait()
    reports.close()
    address = "/v1/models/shop/decisions/d-1/evidence"
    with client_of(house) as client:
        page, console = client.get(address).text, client.get("/").text
        plain = client.get(address, headers={"Accept": "application/json"}).json()
    said = "all: x1 tells the window&#39;s rows from the baseline&#39;s: AUC 0.9"
    assert page.index(said) < page.index("root_metric")
    assert said in console
    assert "A classifier of 1000 rows of each side" in " ".join(console.split())
    assert plain["segment"] == "all"
    assert plain["reading"]["together"] == ["x1"]
    assert plain["sentence"].startswith("all: x1 tells")


def test_names_that_senders_chose_are_shown_and_never_run(house: House) -> None:
    reading = DomainReading(500, 0.9, 200, 50, 40.0, (ColumnPart(HOSTILE, 0.4, 0.9),), (HOSTILE,), 0.9)
    assert "<script" not in together.as_html(together.Together(HOSTILE, reading))
    folder = evidence.folder_of(house.settings.data_dir, decide(house).id)
    folder.mkdir(parents=True)
    (folder / "together.json").write_bytes(msgspec.json.encode(together.Together(HOSTILE, reading)))
    with client_of(house) as client:
        assert "<script" not in client.get("/").text


def test_columns_that_cannot_be_read_are_logged_and_hold_up_no_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "together.columns.json").write_text("{}")
    evidence_report._explain(tmp_path)
    assert "which columns together is not known" in caplog.text
    assert together.read(tmp_path) is None


def test_a_decision_is_not_held_up_by_evidence_that_cannot_be_prepared(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    (house.settings.data_dir / "evidence").write_text("not a folder")
    ingest(house, shop_rows(300, seed=1))
    reports = evidence.Reports()
    reports.ask(house, decide(house, "all"))
    reports.close()
    assert "no evidence report for d-1" in caplog.text


def test_a_report_without_columns_says_so_to_machines(house: House) -> None:
    folder = evidence.folder_of(house.settings.data_dir, decide(house).id)
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<h1>Drift</h1>")
    with client_of(house) as client:
        told = client.get("/v1/decisions/d-1/evidence", headers={"Accept": "application/json"})
    assert (told.status_code, "was not read" in told.json()["detail"]) == (404, True)
