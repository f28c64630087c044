import json
import math
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_server import PROMTOOL, Prometheus, needs_prometheus, scraping

from service.web.metrics import CONTENT_TYPE, DECLARED, collect, expose
from service.web.snapshot import (
    EVALUATION_BOUNDS,
    RETRAINING_BOUNDS,
    SEGMENT_STATES,
    ColumnDrift,
    Durations,
    Limits,
    ModelSnapshot,
    Performance,
    SegmentSnapshot,
    Snapshot,
    TrainingSnapshot,
    TrialSnapshot,
)

ROOT = Path(__file__).parent.parent
DOC = ROOT / "docs/reference/metrics.md"
CHART = ROOT / "helm/tidegate"

RETURNS = SegmentSnapshot(
    name="intent=returns",
    state="drifting",
    rows=400,
    drift=(
        ColumnDrift("text", "psi", 0.31, 0.05, 14.2),
        ColumnDrift("channel", "psi", math.nan, 0.05, math.nan),
    ),
    performance=(Performance("accuracy", "labels", 0.71), Performance("accuracy", "estimate", 0.84)),
    faults=frozenset({"missing"}),
    outcome=0.62,
)
SHOES = ModelSnapshot(
    model="shoes",
    version="7",
    predictions=12_345,
    labels={"matched": 900, "unmatched": 3},
    labels_unmatched=0.02,
    label_delay_seconds=7_200.0,
    rejected={"nan": 4},
    ingest_lag_seconds=1.5,
    last_prediction_seconds=1_795_000_000.0,
    segments=(SegmentSnapshot("all", "ok", 1000, (ColumnDrift("text", "psi", 0.01, 0.05, 0.2),)), RETURNS),
    evidence_threshold_ln=16.1,
    decisions={"hold": 40, "retrain": 1},
    hold_reasons={"insufficient_labels": 12},
    triggers={"confirmed": 3, "unfounded": 1},
    retrainings={"released": 1},
    retraining_running=True,
    training=TrainingSnapshot(0.5, 3, {"training": 0.1, "validation": 0.2}, {"accuracy": 0.9}),
    retraining_durations=Durations.of(RETRAINING_BOUNDS, [42.0, 700.0]),
    budget_remaining=3,
    verdicts={"pass": 1},
    releases=1,
    between_regressions_seconds=86_400.0,
    trial=TrialSnapshot("8", "canary", 0.05, 120, 40),
    aftermath="cleared",
    mlflow_in_step=True,
    policy_reload_ok=True,
    unmeasured=5,
    schema={"unknown": 12},
    signals=1,
    shadow_decisions={("careful", "watch"): 3},
    failures={"open": 4, "fixed": 1},
    failure_shares={"f-e4c7ee6731": 0.22},
)
EVERYTHING = Snapshot(
    models=(SHOES,),
    backlog_rows=17,
    aside_batches=2,
    kserve_events={"counted": 8, "waiting": 8},
    evaluations=Durations.of(EVALUATION_BOUNDS, [0.2, 0.3, 99.0]),
    is_leader=True,
)


def samples(snapshot: Snapshot, limits: Limits | None = None) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(expose(lambda: snapshot, limits).decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(snapshot: Snapshot, name: str, **labels: str) -> float | None:
    return samples(snapshot).get((name, frozenset(labels.items())))


def many(count: int, state: str = "ok") -> tuple[SegmentSnapshot, ...]:
    return tuple(SegmentSnapshot(f"market={n:04}", state, rows=n) for n in range(count))


def shown_segments(snapshot: Snapshot, limits: Limits) -> set[str]:
    return {dict(labels)["segment"] for name, labels in samples(snapshot, limits) if name == "tidegate_segment_state"}


def test_every_declared_metric_has_a_series_when_everything_is_known() -> None:
    without = {metric.name for metric in collect(EVERYTHING) if not metric.samples}

    assert without == set()


def test_every_series_has_exactly_the_declared_labels() -> None:
    declared = {each.name: set(each.labels) for each in DECLARED}

    for name, labels in samples(EVERYTHING):
        family = name if name in declared else re.sub("_(bucket|sum|count)$", "", name)
        assert {key for key, _ in labels} - {"le"} == declared[family], name


def test_the_reference_and_the_declarations_say_the_same() -> None:
    rows = [line for line in DOC.read_text().splitlines() if line.startswith("| `tidegate_")]

    assert rows == [
        f"| `{d.name}` | {d.kind} | {', '.join(f'`{each}`' for each in d.labels) or '-'} | {d.help} |" for d in DECLARED
    ]


def test_the_reference_speaks_of_no_metric_that_is_not_declared() -> None:
    declared = {each.name for each in DECLARED}

    assert set(re.findall(r"`(tidegate_\w+)`", DOC.read_text())) == declared


def test_values_arrive_as_they_were_given() -> None:
    drift = {"model": "shoes", "segment": "intent=returns", "column": "text"}

    assert value(EVERYTHING, "tidegate_predictions_total", model="shoes") == 12_345
    assert value(EVERYTHING, "tidegate_labels_total", model="shoes", end="unmatched") == 3
    assert value(EVERYTHING, "tidegate_drift_size", statistic="psi", **drift) == 0.31
    assert value(EVERYTHING, "tidegate_drift_evidence_ln", **drift) == 14.2
    assert value(EVERYTHING, "tidegate_model_info", model="shoes", version="7") == 1
    assert value(EVERYTHING, "tidegate_is_leader") == 1


def test_a_segment_is_in_exactly_one_state() -> None:
    states = {
        state: value(EVERYTHING, "tidegate_segment_state", model="shoes", segment="intent=returns", state=state)
        for state in SEGMENT_STATES
    }

    assert states == {state: float(state == "drifting") for state in SEGMENT_STATES}


def test_what_could_not_be_read_has_no_series() -> None:
    labels = {"model": "shoes", "segment": "intent=returns", "column": "channel"}

    assert value(EVERYTHING, "tidegate_drift_size", statistic="psi", **labels) is None
    assert value(EVERYTHING, "tidegate_drift_evidence_ln", **labels) is None
    assert value(Snapshot((ModelSnapshot("new"),)), "tidegate_policy_last_reload_successful", model="new") is None


def test_what_never_happened_is_shown_as_zero() -> None:
    new = Snapshot((ModelSnapshot("new"),))

    assert value(new, "tidegate_retrainings_total", model="new", outcome="failed") == 0
    assert value(new, "tidegate_post_release_regressions_total", model="new") == 0


def test_histograms_count_up_to_their_bounds() -> None:
    labels = {"model": "shoes"}

    assert value(EVERYTHING, "tidegate_retraining_duration_seconds_bucket", le="60.0", **labels) == 1
    assert value(EVERYTHING, "tidegate_retraining_duration_seconds_bucket", le="+Inf", **labels) == 2
    assert value(EVERYTHING, "tidegate_retraining_duration_seconds_sum", **labels) == 742
    assert value(EVERYTHING, "tidegate_evaluation_duration_seconds_count") == 3


def test_observing_one_by_one_counts_like_observing_all() -> None:
    seconds = [0.05, 0.051, 3.0, 1e9]
    one_by_one = Durations.of(EVALUATION_BOUNDS)
    for each in seconds:
        one_by_one = one_by_one.observe(each)

    assert one_by_one == Durations.of(EVALUATION_BOUNDS, seconds)


def test_a_store_that_is_away_is_said_and_does_not_fail_the_scrape() -> None:
    shown = samples(Snapshot(store_up=False))

    assert shown["tidegate_store_up", frozenset()] == 0
    assert {labels for _, labels in shown if "model" in dict(labels)} == set()


def test_a_thousand_segments_are_at_most_the_limit_and_other() -> None:
    snapshot = Snapshot((ModelSnapshot("shoes", segments=(*many(1000), SegmentSnapshot("all", "ok"))),))

    shown = shown_segments(snapshot, Limits(segments=200))

    assert len(shown) == 201
    assert {"all", "other", "market=0999"} <= shown


def test_a_small_segment_in_trouble_is_shown_before_large_quiet_ones() -> None:
    segments = (*many(50), SegmentSnapshot("market=tiny", "drifting", rows=1), SegmentSnapshot("all", "ok"))

    shown = shown_segments(Snapshot((ModelSnapshot("shoes", segments=segments),)), Limits(segments=10))

    assert "market=tiny" in shown


def test_other_has_the_worst_of_what_it_stands_for() -> None:
    tail = (
        SegmentSnapshot("a", "ok", 9, (ColumnDrift("text", "psi", 0.1, 0.05, 1.0),)),
        SegmentSnapshot("b", "watch", 5, (ColumnDrift("text", "psi", 0.2, 0.05, 3.0),)),
        SegmentSnapshot("c", "ok", 1, faults=frozenset({"unseen"})),
    )
    snapshot = Snapshot((ModelSnapshot("shoes", segments=(SegmentSnapshot("all", "ok"), *tail)),))

    shown = samples(snapshot, Limits(segments=1))

    at = {"model": "shoes", "segment": "other"}
    assert shown["tidegate_segment_state", frozenset({**at, "state": "watch"}.items())] == 1
    assert shown["tidegate_drift_size", frozenset({**at, "column": "text", "statistic": "psi"}.items())] == 0.2
    assert shown["tidegate_data_fault", frozenset({**at, "kind": "unseen"}.items())] == 1


def test_only_the_columns_with_the_strongest_evidence_are_shown() -> None:
    drift = tuple(ColumnDrift(f"c{n:02}", "psi", 0.1, 0.05, math.nan if n == 29 else float(n)) for n in range(30))
    snapshot = Snapshot((ModelSnapshot("shoes", segments=(SegmentSnapshot("all", "ok", drift=drift),)),))

    shown = {dict(labels)["column"] for name, labels in samples(snapshot) if name == "tidegate_drift_size"}

    assert shown == {f"c{n:02}" for n in range(9, 29)}


def test_a_segment_that_vanished_from_the_snapshot_vanishes_from_the_scrape() -> None:
    after = Snapshot((ModelSnapshot("shoes", segments=SHOES.segments[:1]),))

    assert b"intent=returns" in expose(lambda: EVERYTHING)
    assert b"intent=returns" not in expose(lambda: after)


def test_names_with_quotes_and_line_ends_survive_the_text_format() -> None:
    odd = 'say="hi"\\,\n'

    shown = samples(Snapshot((ModelSnapshot("shoes", segments=(SegmentSnapshot(odd, "ok"),)),)))

    assert odd in {dict(labels).get("segment") for _, labels in shown}


@needs_prometheus
def test_promtool_finds_nothing_to_improve() -> None:
    checked = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=expose(lambda: EVERYTHING), capture_output=True, check=False
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus that has scraped EVERYTHING at least twice."""
    with (
        serve(lambda: EVERYTHING) as target,
        scraping(target, tmp_path_factory.mktemp("prometheus")) as server,
    ):
        server.wait_for("count_over_time(tidegate_is_leader[1m]) >= 3")
        yield server


@contextmanager
def serve(snapshot_of: Callable[[], Snapshot]) -> Iterator[str]:
    class Scraped(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.end_headers()
            self.wfile.write(expose(snapshot_of))

        def log_message(self, *_: object) -> None:
            """Keep the test's output quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Scraped) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@needs_prometheus
def test_a_real_prometheus_has_rows_for_every_metric(prometheus: Prometheus) -> None:
    series = {each.name: each.name + ("_count" if each.kind == "histogram" else "") for each in DECLARED}

    assert [name for name, queried in series.items() if not prometheus.query(queried)] == []


@needs_prometheus
def test_a_real_prometheus_reads_the_values(prometheus: Prometheus) -> None:
    (row,) = prometheus.query('tidegate_drift_size{segment="intent=returns"} / tidegate_drift_threshold')

    assert row["metric"]["column"] == "text"
    assert float(row["value"][1]) == pytest.approx(6.2)


@needs_prometheus
def test_every_expression_of_the_dashboard_has_rows_in_a_real_prometheus(prometheus: Prometheus) -> None:
    dashboard = json.loads((CHART / "dashboards/tidegate.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]

    assert len(expressions) > 20
    assert [each for each in expressions if not prometheus.query(_chosen(each))] == []


def _chosen(expression: str) -> str:
    """The expression as Grafana sends it when everything is selected."""
    return expression.replace("$__rate_interval", "1m").replace("$model", ".*").replace("$segment", ".*")
