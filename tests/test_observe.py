from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from houses import NOON, POLICY, evaluate, fold, give_baseline, open_shop
from prometheus_client.parser import text_string_to_metric_families
from streams import predictions

from service.errors import Rejection, StoreAway
from service.house import House
from service.intake.bodies.wire import Batch
from service.ledger.records import Evaluation, Release, Retraining
from service.storage.embedded import Embedded
from service.web import metrics, observe
from service.web.snapshot import NO_EVALUATIONS, ModelSnapshot


@pytest.fixture
def house(server: Embedded, tmp_path) -> Iterator[House]:
    with open_shop(server, tmp_path) as opened:
        yield opened


def shop(house: House) -> ModelSnapshot:
    (model,) = observe.snapshot(house).models
    return model


def retraining(number: int, state: str, minutes: int = 0) -> Retraining:
    opened = NOON - timedelta(days=number)
    ended = opened + timedelta(minutes=minutes) if minutes else None
    return Retraining(f"r-{number}", "shop", "d", "1", state, opened, (), (), finished_at=ended)


def test_a_model_with_a_policy_and_nothing_else_is_there(house):
    model = shop(house)
    assert (model.model, model.version, model.predictions, model.segments) == ("shop", "", 0, ())
    assert (model.policy_reload_ok, model.budget_remaining, model.retraining_running) == (True, 2, False)
    assert (model.last_prediction_seconds, model.ingest_lag_seconds) == (None, 0.0)


def test_what_was_taken_and_read_is_there(house):
    evaluate(house)
    model = shop(house)
    assert (model.version, model.predictions) == ("1", 2800)
    assert model.labels == {"matched": 2800}
    assert model.last_prediction_seconds is not None
    read = house.ledger.evaluation("shop").segments
    assert {each.name for each in model.segments} == {s["segment"] for s in read if not s["segment"].endswith("=other")}
    everything = next(each for each in model.segments if each.name == "all")
    assert everything.rows == 2800
    assert {p.basis for p in everything.performance} == {"labels", "estimate"}
    assert all(each.threshold == 0.05 for each in everything.drift)
    assert sum(model.decisions.values()) == 1


def test_rows_that_wait_and_rows_that_were_refused_are_counted(house):
    give_baseline(house)
    table = predictions(40, seed=2).drop_columns(["label"])
    batch = Batch(table, (Rejection(0, "features.x", "is null", "nested"),))
    house.ingest.accept_predictions("shop", batch, None, "body", NOON - timedelta(minutes=5))
    waiting = observe.snapshot(house)
    assert waiting.backlog_rows == 40
    assert waiting.models[0].ingest_lag_seconds == pytest.approx(300)
    fold(house)
    folded = observe.snapshot(house)
    assert (folded.backlog_rows, folded.models[0].ingest_lag_seconds, folded.models[0].predictions) == (0, 0.0, 40)
    assert folded.models[0].rejected == {"nested": 1}


def test_numbers_that_could_not_be_read_show_no_series(house):
    read = {
        "segment": "all", "state": "insufficient", "rows": 3, "faults": [],
        "columns": [{"column": "x", "statistic": "psi", "size": None, "threshold": 0.1, "evidence_ln": None}],
        "performance": {"metric": "accuracy", "value": None, "estimate": None},
    }  # fmt: skip
    house.ledger.record(Evaluation("shop", "1", at=NOON, segments=[read]), None, ())
    text = metrics.expose(lambda: observe.snapshot(house)).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["tidegate_drift_size"].samples == []
    assert len(families["tidegate_drift_threshold"].samples) == 1
    assert families["tidegate_performance_ratio"].samples == []


def test_only_faults_that_are_open_are_faults(house):
    suspicions = [{"column": c, "kind": k} for c, k in (("text", "missing"), ("x", "unseen"))]
    read = {
        "segment": "all", "state": "fault", "rows": 3, "faults": suspicions, "columns": [],
        "performance": {"metric": "accuracy", "value": None, "estimate": None},
    }  # fmt: skip
    evaluation = Evaluation("shop", "1", at=NOON, segments=[read], faults=("all: text missing",))
    house.ledger.record(evaluation, None, ())
    assert shop(house).segments[0].faults == {"missing"}
    house.ledger.record(replace(evaluation, faults=()), None, ())
    assert shop(house).segments[0].faults == set()


def test_counts_of_the_ledger_come_under_their_names(house):
    for field in (
        "decisions:hold",
        "decisions:hold",
        "hold_reasons:blind",
        "verdicts:pass",
        "post_release_regressions",
    ):
        house.ledger.count("shop", field)
    model = shop(house)
    assert (model.decisions, model.hold_reasons, model.verdicts) == ({"hold": 2}, {"blind": 1}, {"pass": 1})
    assert model.post_release_regressions == 1


def test_retrainings_count_by_their_end_with_their_time(house):
    for each in (retraining(3, "requested"), retraining(2, "requested"), retraining(1, "training")):
        house.ledger.open_retraining(each)
    house.ledger.save_retraining(retraining(3, "released", minutes=2))
    house.ledger.save_retraining(retraining(2, "refused", minutes=30))
    model = shop(house)
    assert model.retrainings == {"released": 1, "refused": 1}
    assert model.retraining_running
    assert (sum(model.retraining_durations.counts), model.retraining_durations.sum_seconds) == (2, 1920.0)


def test_the_budget_counts_what_was_started_in_its_span(house):
    house.ledger.open_retraining(retraining(31, "released", minutes=1))
    assert shop(house).budget_remaining == 2
    for number in (1, 2, 3):
        house.ledger.open_retraining(retraining(number, "failed", minutes=1))
    assert shop(house).budget_remaining == 0


def test_releases_and_rollbacks_are_counted_apart(house):
    give_baseline(house, "1")
    give_baseline(house, "2")
    house.ledger.move_champion(Release("shop", "2", "1", NOON, "release", "better"))
    house.ledger.move_champion(Release("shop", "1", "2", NOON, "rollback", "worse"))
    model = shop(house)
    assert (model.version, model.releases, model.rollbacks) == ("1", 2, 1)


def test_a_bad_policy_edit_shows_until_it_is_mended(house):
    file = house.policies.folder / "shop.yaml"
    file.write_text(POLICY + "persist: often\n")
    house.policies.reload()
    assert shop(house).policy_reload_ok is False
    file.write_text(POLICY + "persist: 3\n")
    house.policies.reload()
    assert shop(house).policy_reload_ok is True


def test_what_belongs_to_this_process_is_passed_on(house):
    evaluations = NO_EVALUATIONS.observe(0.2)
    taken = observe.snapshot(house, is_leader=True, evaluations=evaluations)
    assert (taken.is_leader, taken.evaluations, taken.store_up) == (True, evaluations, True)


def test_with_the_store_away_there_is_no_snapshot(tmp_path):
    with Embedded(tmp_path / "own") as own, open_shop(own, tmp_path) as house:
        own.stop()
        with pytest.raises(StoreAway):
            observe.snapshot(house)
