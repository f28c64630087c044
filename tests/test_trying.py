"""Trying: a challenger on live traffic before it is released, as a canary or in the shadow; and whom it serves."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow.compute as pc
import pytest
from houses import client_of
from hypothesis import given
from hypothesis import strategies as st
from stage import CANARY, MODEL, SHADOW, TEXT, open_stage
from test_replay import POLICY, replay, rows

from policies.apart import bar_of, evidence_apart_ln, judge_apart, pair_up
from policies.file.policy import Gate
from policies.gate import ENOUGH_LN
from service.deciding.loop import Loop
from service.ledger.records import Trial
from service.orders.cancelling import ask_to_cancel
from service.replay import Options
from service.retraining.assignment import Split, Splits
from service.retraining.trying import NoTrial, begin_trial, look_at_trial
from service.web.auth import create_key

LABELS = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60)


def begin(stage, *, is_good=True, uri=""):
    """The challenger of a stage on trial, saved as the course saves it."""
    known = stage.challenger(is_good=is_good, uri=uri)
    folder = None if uri else stage.model
    rows = stage.described(is_good=is_good)
    return save(stage, begin_trial(stage.house, stage.registry, stage.policy, known, folder, rows))


def save(stage, record):
    stage.house.ledger.save_retraining(record)
    return stage.house.ledger.retraining(MODEL, record.id)


def look(stage, tried):
    """The next look: the record with what it found, and how the trial ended, if it did."""
    found = look_at_trial(stage.house, stage.registry, stage.policy, tried)
    assert found is not None
    return save(stage, replace(tried, trial=found.trial)), found.ending


def answers(trial: Trial) -> dict[str, str]:
    return {each["name"]: each["answer"] for each in trial.segments}


# ---- what the figures say


@given(LABELS, LABELS)
def test_pairs_keep_every_row_of_the_longer_side_in_its_stretch(champion, challenger):
    before, after = pair_up(np.array(champion), np.array(challenger), "classification")
    assert len(before) == len(after) == min(len(champion), len(challenger))
    for values, paired in ((champion, before), (challenger, after)):
        assert min(values) <= paired.min()
        assert paired.max() <= max(values)
        if len(values) == len(paired):
            assert values == paired.tolist()


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_models_that_are_as_good_as_is_allowed_are_seldom_told_worse(kind):
    rng, alarms, runs = np.random.default_rng(7), 0, 400
    for _ in range(runs):
        if kind == "classification":
            champion, challenger = rng.random(900) < 0.8, rng.random(100) < 0.78
        else:
            champion, challenger = rng.exponential(1.0, 900), rng.exponential(1.02, 100)
        alarms += evidence_apart_ln(champion.astype(float), challenger.astype(float), 0.02, kind) >= ENOUGH_LN
    assert alarms <= runs / 20


def test_a_drop_is_found_in_the_segment_that_has_it_and_later_looks_ask_for_more():
    rng = np.random.default_rng(3)
    good, bad = (rng.random(3000) < 0.9).astype(float), (rng.random(400) < 0.6).astype(float)
    found = judge_apart(Gate(), {"all": (good, good[:400]), "group=a": (good, bad), "group=b": (good, good[:50])})
    assert {each.name: each.answer for each in found} == {
        "all": "better_or_equal",
        "group=a": "worse",
        "group=b": "not_enough_labels",
    }
    assert bar_of(3, 1) < bar_of(3, 2) < bar_of(9, 2)


# ---- who is served


@given(st.text(max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_a_unit_keeps_its_version_and_none_leaves_the_challenger_when_its_share_grows(unit, one, other):
    split = Split(MODEL, "1", trial="r-1", challenger="2", share=min(one, other))
    wider = replace(split, share=max(one, other))
    assert split.version_for(unit) == split.version_for(unit)
    assert split.version_for(unit) == "1" or wider.version_for(unit) == "2"
    assert replace(split, share=0.0).version_for(unit) == "1"


def test_the_share_is_kept_and_every_trial_has_other_units():
    split = Split(MODEL, "1", trial="r-1", challenger="2", share=0.05)
    units = [f"customer-{n}" for n in range(20_000)]
    first = {unit for unit in units if split.version_for(unit) == "2"}
    second = {unit for unit in units if replace(split, trial="r-2").version_for(unit) == "2"}
    assert 0.045 < len(first) / len(units) < 0.055
    assert len(first & second) < len(first) / 5


def test_production_asks_who_is_served_and_may_keep_the_answer_for_a_moment(server, tmp_path):
    with open_stage(server, tmp_path, CANARY) as stage, client_of(stage.house) as client:
        route = f"/v1/models/{MODEL}/assignment"
        tried = begin(stage, uri="s3://models/flip/2")
        said = client.get(route)
        assert said.json() == {
            "model": MODEL,
            "champion": "1",
            "challenger": "2",
            "trial": "r-1",
            "mode": "canary",
            "share": 0.3,
            "version": None,
            "until": tried.trial.until.isoformat().replace("+00:00", "Z"),
            "uri": "s3://models/flip/2",
        }
        assert "max-age" in said.headers["cache-control"]
        assert client.get(route, headers={"If-None-Match": said.headers["etag"]}).status_code == 304
        served = {unit: client.get(route, params={"unit": unit}).json() for unit in ("a", "b", "c", "d", "e", "f")}
        assert {(each["version"], each["uri"]) for each in served.values()} == {
            ("1", None),
            ("2", "s3://models/flip/2"),
        }
        assert client.get("/v1/models/nobody/assignment").status_code == 404


def test_the_answer_ends_with_the_trial(server, tmp_path):
    seconds = [100.0]
    with open_stage(server, tmp_path, CANARY) as stage:
        splits, tried = Splits(stage.house, lambda: seconds[0]), begin(stage)
        assert splits.read(MODEL).challenger == "2"
        save(stage, replace(tried, state="cancelled"))
        assert splits.read(MODEL).challenger == "2"  # still from memory
        seconds[0] += 3
        assert splits.read(MODEL) == Split(MODEL, "1")


def test_a_key_for_posting_or_for_reading_may_ask_and_others_may_not(server, tmp_path):
    with open_stage(server, tmp_path, CANARY) as stage:
        codes = {}
        for scope in ("ingest", "read", "operate"):
            _, token = create_key(stage.house.store, scope, [scope], [], stage.clock())
            codes[scope] = token
        with client_of(stage.house) as client:
            for scope, token in codes.items():
                asked = client.get(f"/v1/models/{MODEL}/assignment", headers={"Authorization": f"Bearer {token}"})
                codes[scope] = asked.status_code
    assert codes == {"ingest": 200, "read": 200, "operate": 403}


# ---- a canary


def test_a_canary_that_is_no_worse_is_released_when_its_time_is_over_and_says_what_is_open(server, tmp_path):
    with open_stage(server, tmp_path, CANARY) as stage:
        tried = begin(stage)
        stage.serve(400, ("1", "1", "2"))
        tried, ending = look(stage, tried)
        assert ending is None
        assert (tried.trial.rows, tried.trial.labels) == (133, 133)
        assert answers(tried.trial) == {
            "all": "better_or_equal",
            "group=a": "not_enough_labels",
            "group=b": "not_enough_labels",
        }
        assert look_at_trial(stage.house, stage.registry, stage.policy, tried) is None  # nothing is new yet
        stage.serve(330, ("1", "1", "2"))
        tried, ending = look(stage, tried)
        assert ending.state == "released"
        assert "243 rows and 243 labels" in ending.note


def test_a_canary_that_is_worse_is_refused_before_its_time_is_over(server, tmp_path):
    with open_stage(server, tmp_path, CANARY) as stage:
        tried = begin(stage, is_good=False)
        stage.serve(240, ("1", "1", "2"), is_good=False)
        tried, ending = look(stage, tried)
        assert stage.clock() < tried.trial.until
        assert ending.state == "refused"
        assert "group=a is worse" in ending.note
        assert answers(tried.trial)["all"] == "worse"


def test_without_labels_a_canary_is_judged_by_its_rows_and_says_so(server, tmp_path):
    with open_stage(server, tmp_path, CANARY) as stage:
        tried = begin(stage)
        stage.serve(730, ("1", "1", "2"), labels=False)
        _, ending = look(stage, tried)
        assert ending.state == "released"
        assert "without labels" in ending.note


def test_a_canary_whose_answers_are_not_spread_as_in_its_baseline_is_refused_without_labels(server, tmp_path):
    with open_stage(server, tmp_path, CANARY) as stage:
        tried = begin(stage)
        index = stage.rows.column_names.index("feature_x1")
        stage.rows = stage.rows.set_column(index, "feature_x1", pc.abs(stage.rows.column("feature_x1")))
        stage.serve(700, ("2",), labels=False)
        _, ending = look(stage, tried)
        assert ending.state == "refused"
        assert "all: its predictions are not spread as in its baseline" in ending.note


def test_a_canary_that_nobody_routes_to_waits_and_then_fails_with_what_to_do(server, tmp_path):
    with open_stage(server, tmp_path, CANARY) as stage:
        tried = begin(stage)
        stage.serve(730)
        tried, ending = look(stage, tried)
        assert ending is None
        assert "no traffic reached the canary" in tried.trial.text
        stage.clock.now = tried.trial.began + timedelta(hours=24)
        _, ending = look(stage, tried)
        assert ending.state == "failed"
        assert "/assignment" in ending.note


def test_while_the_feed_is_broken_nothing_is_concluded(server, tmp_path):
    with open_stage(server, tmp_path, CANARY) as stage:
        tried, ledger = begin(stage), stage.house.ledger
        stage.serve(730, ("1", "1", "2"))
        evaluation = replace(ledger.evaluation(MODEL), version="1", faults=("all: x1 missing",))
        ledger.record(evaluation, None, [])
        tried, ending = look(stage, tried)
        assert ending is None
        assert "the feed is broken: all: x1 missing" in tried.trial.text


def test_without_a_canary_in_the_policy_there_is_no_trial(server, tmp_path):
    with open_stage(server, tmp_path, TEXT) as stage, pytest.raises(NoTrial):
        begin(stage)


# ---- in the shadow


def test_in_the_shadow_the_challenger_is_asked_about_the_same_rows_and_serves_nobody(server, tmp_path):
    with open_stage(server, tmp_path, SHADOW) as stage:
        tried = begin(stage)
        stage.serve(400)
        tried, ending = look(stage, tried)
        assert ending is None
        assert set(answers(tried.trial).values()) == {"better_or_equal"}
        assert Splits(stage.house).read(MODEL).version_for("anybody") == "1"
        stage.serve(330)
        _, ending = look(stage, tried)
        assert ending.state == "released"
        assert not stage.house.cells.load(stage.house.ledger.baseline(MODEL, "2"))  # nothing was posted as its rows


def test_in_the_shadow_a_worse_challenger_is_refused(server, tmp_path):
    with open_stage(server, tmp_path, SHADOW) as stage:
        tried = begin(stage, is_good=False)
        stage.serve(120)
        _, ending = look(stage, tried)
        assert ending.state == "refused"
        assert "all is worse" in ending.note


def test_a_model_outside_is_tried_in_the_shadow_by_what_production_posts_of_it(server, tmp_path):
    with open_stage(server, tmp_path, SHADOW) as stage:
        tried = begin(stage, uri="s3://models/flip/2", is_good=False)
        assert "is not held here" in tried.trial.text
        assert tried.trial.share == 0
        stage.serve(300, ("1", "2"), is_good=False)
        _, ending = look(stage, tried)
        assert ending.state == "refused"


# ---- the whole course


def test_a_person_ends_a_trial_at_any_moment(server, tmp_path):
    with open_stage(server, tmp_path, CANARY) as stage:
        tried = begin(stage)
        ask_to_cancel(stage.house.ledger, MODEL, tried.id, "ann", "not before the sale", stage.clock())
        done = Loop(stage.house, stage.registry, makes_reports=False).finish(MODEL)
        assert (done.state, done.note) == ("cancelled", "cancelled by ann: not before the sale")
        assert Splits(stage.house).read(MODEL) == Split(MODEL, "1")


def test_what_ended_well_is_released_by_the_next_step_and_watched(server, tmp_path):
    with open_stage(server, tmp_path, CANARY) as stage:
        begin(stage)
        stage.serve(730, ("1", "1", "2"))
        done = Loop(stage.house, stage.registry, makes_reports=False).finish(MODEL)
        assert done.state == "released"
        assert "on trial as a canary for 12h" in done.note
        assert stage.house.ledger.watch(MODEL).version == stage.house.ledger.champion(MODEL) == "2"


def test_a_retraining_goes_through_a_canary_that_a_replay_routes_to(tmp_path):
    text = POLICY + "window: {slice: 1h, lateness: 0s}\ngate: {canary: {share: 40%, for: 6h}}\n"
    account, releases, retrainings = replay(tmp_path, rows(4200, flips_at=2400), Options(start=1500), text)
    assert [each.kind for each in releases][:2] == ["first", "release"]
    done = retrainings[-1]
    assert (done.state, done.trial.mode) == ("released", "canary")
    assert 80 < done.trial.rows < 240  # 40 % of six hours of 60 rows
    assert releases[1].at - done.trial.began >= timedelta(hours=6)
    assert account.releases[0]["version"] == "2"
