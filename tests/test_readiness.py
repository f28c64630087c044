"""What a challenger is asked beside the holdout, on a real house: cases, recent traffic, outcomes, latency and size."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from streams import predictions
from test_replay import POLICY, rows
from test_retrain import open_shop

from policies.file.parse import parse
from service.retraining.asking import CASE, HOLDOUT, Asked, rows_to_ask
from service.retraining.gathering import gather
from service.retraining.judging import judge_challenger, why_refused
from service.retraining.opening import open_retraining
from service.retraining.proving import Answered, distribution_of
from service.training.cases import BadCases, features_of, read_cases
from service.training.comparing import compare, outcomes, pairs_of
from service.training.readiness import failed_cases, latency_p95
from service.training.trainers import refit

ROWS = pa.table(
    {"feature_x": [float(i % 10) for i in range(200)], "label": ["low" if i % 10 < 5 else "high" for i in range(200)]}
)
MODEL = refit(ROWS, task="classification", step=3)
LOW = '{"features": {"x": 1}, "prediction": "low"}'


def cases(folder: Path, *lines: str) -> Path:
    file = folder / "cases.ndjson"
    file.write_text("\n".join(lines))
    return file


def test_cases_that_the_model_gets_wrong_are_counted(tmp_path):
    wrong = '{"features": {"x": 9}, "prediction": "low"}'
    assert failed_cases(MODEL, cases(tmp_path, LOW)) == 0
    assert failed_cases(MODEL, cases(tmp_path, LOW, wrong, wrong)) == 2


@pytest.mark.parametrize("line", ["", "{", '{"features": {}}', '{"feature": {}, "prediction": "low"}'])
def test_a_file_of_cases_that_cannot_be_used_is_an_error_and_no_pass(tmp_path, line):
    with pytest.raises(BadCases, match="must_pass"):
        failed_cases(MODEL, cases(tmp_path, line))
    with pytest.raises(BadCases, match="must_pass"):
        failed_cases(MODEL, tmp_path / "absent.ndjson")


def test_a_case_may_have_a_name_and_a_segment_and_is_called_by_its_line_otherwise(tmp_path):
    named = '{"name": "edge", "segment": "group=a", "features": {"x": 1}, "prediction": "low"}'
    found = read_cases(cases(tmp_path, named, "", LOW))
    assert [(case.name, case.segment) for case in found] == [("edge", "group=a"), ("line 3", "")]


@pytest.mark.parametrize(
    ("features", "says"),
    [({"x": "many"}, "line 1: the rows have x as double"), ({"y": 1}, "line 1: the rows have none of the features")],
)
def test_a_case_of_other_features_than_the_rows_have_is_named(tmp_path, features, says):
    file = cases(tmp_path, json.dumps({"features": features, "prediction": "low"}))
    with pytest.raises(BadCases, match=says):
        features_of(read_cases(file), ROWS.schema)


def test_the_time_of_one_prediction_is_measured():
    assert 0 < latency_p95(MODEL, predictions(50)).total_seconds() < 10


# ---- on a house

GATE = "gate: {must_pass: cases.ndjson, latency_p95: 10s, max_size: 1GB}\n"
PASSES = '{"features": {"x1": -3.0}, "prediction": "yes"}'
FAILS = '{"features": {"x1": 3.0, "x2": 0.0}, "prediction": "yes", "name": "high", "segment": "group=b"}'


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A shop whose world flipped, all that judging needs of it, and what a good challenger answers."""
    tmp_path = tmp_path_factory.mktemp("shop")
    with open_shop(tmp_path, rows(2600, flips_at=1500)) as shop:
        shop.serve(1000, 2600)
        (tmp_path / "policies.d" / "cases.ndjson").write_text(f"{PASSES}\n{FAILS}\n")
        policy = parse(POLICY + GATE)
        known = open_retraining(shop.house, shop.decision(change_at=1500))
        curated = gather(shop.house, policy, known)
        asked = rows_to_ask(shop.house, policy, known, curated)
        model = refit(curated.candidates["after_change"], task="classification", columns=policy.column_kinds(), step=2)
        yield shop, policy, known, asked, model


def answers_of(asked: Asked, model) -> pa.Table:
    said = model.predict(asked.unseen)
    return said.append_column("prediction_id", asked.unseen.column("prediction_id"))


def judge(judged, predictions=None, *, outside=False, **changed):
    shop, policy, known, asked, model = judged
    policy = replace(policy, gate=replace(policy.gate, **changed))
    baseline = shop.house.ledger.baseline("flip", "1")
    said = answers_of(asked, model) if predictions is None else predictions
    size = None if outside else 1_000
    here = None if outside else model
    return judge_challenger(
        shop.house, shop.registry, policy, known, baseline, asked, said, model=here, size_bytes=size
    )


def test_what_a_trainer_is_given_holds_no_answer_and_is_the_same_whenever_asked(judged):
    shop, policy, known, asked, _ = judged
    assert set(asked.unseen.column_names) == {"prediction_id", "timestamp", "feature_x1", "feature_x2", "tag_group"}
    assert asked.unseen.num_rows == asked.known.num_rows == len(pc.unique(asked.unseen.column("prediction_id")))
    again = rows_to_ask(shop.house, policy, known, gather(shop.house, policy, known))
    assert again.known.equals(asked.known)
    recent = asked.known.filter(asked.known.column("is_recent"))
    assert recent.num_rows == 1_000
    assert set(recent.column("part").to_pylist()) == {"holdout", "recent"}
    assert pc.max(recent.column("timestamp")).as_py() < known.opened_at


def test_a_case_that_fails_is_told_with_its_features_what_was_expected_and_what_was_said(judged):
    verdict = judge(judged)
    assert verdict.refused_by == ("edge_cases_failed",)
    (failed,) = verdict.readiness.failed
    assert (failed.name, failed.segment, failed.expected, failed.said) == ("high", "group=b", "yes", "no")
    assert failed.features == {"x1": 3.0, "x2": 0.0}
    assert verdict.readiness.cases == 2
    assert "high said no, not yes" in verdict.refusals[0].text


def test_the_order_of_the_answers_does_not_matter(judged):
    said = answers_of(judged[3], judged[4])
    turned = said.take(pa.array(range(said.num_rows - 1, -1, -1)))
    one, other = (judge(judged, answers, outside=True) for answers in (said, turned))
    assert one == other


def test_latency_and_size_are_measured_of_a_model_that_is_here(judged):
    found = judge(judged).readiness
    assert (found.size_bytes, found.unmeasured) == (1_000, {})
    assert found.latency_p95 > timedelta(0)
    small = judge(judged, latency_p95=timedelta(microseconds=1), max_size=10)
    assert {"too_slow", "too_large"} <= set(small.refused_by)


def test_of_a_model_that_stays_outside_the_verdict_says_that_they_are_not_measured_and_why(judged):
    verdict = judge(judged, outside=True)
    told = {reason.column: reason.text for reason in verdict.warnings if reason.code == "not_measured"}
    assert set(told) == {"latency_p95", "max_size"}
    assert all("stays where it was trained" in text for text in told.values())


def test_a_challenger_that_says_one_class_of_all_recent_rows_is_refused_for_that_too(judged):
    asked = judged[3]
    ids = asked.unseen.column("prediction_id")
    flat = pa.table({"prediction_id": ids, "prediction": ["no"] * len(ids)})
    verdict = judge(judged, flat, min_gain=-1)
    assert "distribution_broken" in verdict.refused_by
    assert any("100.0 % of recent rows" in text for text in verdict.readiness.distribution.broken)
    assert {each.answer for each in verdict.metrics if each.name == "brier"} == {"not_measured"}


def test_recent_rows_that_are_too_few_are_told_and_refuse_nothing(judged):
    shop, policy, known, asked, model = judged
    is_old = pa.array([False] * asked.known.num_rows)
    known_rows = asked.known.set_column(asked.known.column_names.index("is_recent"), "is_recent", is_old)
    verdict = judge((shop, policy, known, Asked(known_rows), model))
    assert verdict.readiness.distribution.why == "0 rows came lately, 100 are needed"
    assert "distribution" in {reason.column for reason in verdict.warnings}


def test_holdout_rows_that_the_champion_never_served_and_cannot_be_asked_about_are_left_out_and_told(judged):
    shop, policy, known, asked, model = judged
    place = asked.known.column_names.index("model_version")
    versions = ["0" if row % 2 else "1" for row in range(asked.known.num_rows)]
    half = Asked(asked.known.set_column(place, "model_version", pa.array(versions)))
    gone = replace(known, champion="1", model="elsewhere")  # no model of that name is stored here
    verdict = judge((shop, policy, gone, half, model))
    assert verdict.segments[0].n < asked.part(HOLDOUT).num_rows
    assert any("never served them" in reason.text for reason in verdict.warnings)


def test_outcomes_say_whether_being_right_helps(judged):
    shop, policy, known, asked, model = judged
    helped = replace(policy, task=replace(policy.task, outcome="resolved"))
    assert judge((shop, helped, known, asked, model)).readiness.alignment.answer == "not_enough_outcomes"
    assert judge(judged).readiness.alignment is None


def test_only_what_refuses_is_in_the_note_of_a_refusal(judged):
    verdict = {
        "refused_by": ["segment_worse"],
        "reasons": [
            {"code": "segment_worse", "met": True, "text": "all: worse"},
            {"code": "segment_worse", "met": False, "text": "group=a: fine"},
            {"code": "not_enough_labels", "met": True, "text": "group=b: thin"},
        ],
    }
    assert why_refused(verdict) == "all: worse"
    assert asked_cases(judged[3]) == ["line 1", "high"]


def asked_cases(asked: Asked) -> list[str]:
    return asked.part(CASE).column("case_name").to_pylist()


def test_errors_by_failure_category_are_counted_for_both_and_refuse_nothing(judged):
    shop, policy, known, asked, model = judged
    mistaken = {"kind": "confusion", "where": [], "predicted": "no", "actual": "yes"}
    carried = replace(known, failures=({"id": "f-1", "name": "yes taken for no", "rule": mistaken},))
    counted, rest = judge((shop, policy, carried, asked, model)).readiness.failures
    assert (counted.name, counted.champion > 10 * counted.challenger) == ("yes taken for no", True)
    champion_wrong = round((1 - judge(judged).segments[0].champion) * asked.part(HOLDOUT).num_rows)
    assert counted.champion + rest.champion == champion_wrong


# ---- what is said, side by side


def test_scores_count_where_both_give_them_and_confidence_where_one_does_not():
    truth = pa.table({"label": ["a", "b", "c"]})
    scored = {"score_a": [0.6, 0.1, 0.2], "score_b": [0.3, 0.8, 0.2], "score_c": [0.1, 0.1, 0.6]}
    plain = pa.table({"prediction": ["a", "b", "c"], "confidence": [0.6, 0.8, 0.6]})
    full = pa.table({"prediction": ["a", "b", "a"], "confidence": [0.6, 0.8, 0.6], **scored})
    both, one = pairs_of("classification", truth, full, full), pairs_of("classification", truth, plain, full)
    assert both.champion.log_loss[2] == pytest.approx(-np.log(0.6), abs=1e-5)  # the score of c, which is the label
    assert one.challenger.log_loss[2] == pytest.approx(-np.log(0.2), abs=1e-5)  # half of what its confidence leaves
    assert one.classes == ("a", "b", "c")


def test_a_regression_is_asked_and_shown_by_its_numbers():
    at = np.linspace(0, 10, 240)
    rows = pa.table(
        {
            "label": at,
            "prediction": at + 0.5,
            "confidence": pa.nulls(240, pa.float64()),
            "part": [HOLDOUT] * 240,
            "is_recent": [True] * 240,
        }
    )
    found = distribution_of("regression", Answered(rows, pa.table({"prediction": at})))
    assert (found.n, found.broken, found.odd) == (240, (), ())
    pairs = pairs_of("regression", rows, rows.select(["prediction", "confidence"]), pa.table({"prediction": at}))
    answers = [outcomes("regression", side, rows) for side in (rows.column("prediction"), pa.chunked_array([at]))]
    verdict = compare(parse("{model: m, task: {kind: regression}}"), *answers, {"all": np.ones(240, bool)}, pairs)
    assert verdict.passed
    assert {each.name: round(each.drop, 3) for each in verdict.metrics} == {"mae": -1.0, "rmse": -1.0, "r2": -0.03}
