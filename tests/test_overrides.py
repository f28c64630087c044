"""One segment is different: it alone is judged by its own limits, and says so."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decide import COLUMNS, NOW, SEGMENTS, lasting, quiet, with_drift, with_drop, with_fault, with_labels

from monitors.readings import FAULT_KINDS
from policies.assessment import assess
from policies.decide import History, decide
from policies.errors import PolicyInvalid
from policies.file.overrides import Override, place_of
from policies.file.parse import parse
from policies.file.policy import Gate
from policies.gate import judge
from policies.limits import limits_of, policy_for
from service.readings_view import segments_view

HEAD = "model: shop\ntask: {kind: classification, target: intent}\nsegments: [[intent], [intent, channel]]\n"
RETRAIN = "retrain: {when: [performance, {drift: {segments: 1, columns: 1}, and: estimated_drop}, drift, twin]}\n"


def policy(*overrides, text=""):
    said = "".join(f"  - {override}\n" for override in overrides)
    return parse(f"{HEAD}{RETRAIN}{text}overrides:\n{said}" if said else f"{HEAD}{RETRAIN}{text}", "shop.yaml")


def complaints(*overrides):
    with pytest.raises(PolicyInvalid) as caught:
        policy(*overrides)
    return str(caught.value)


def limits(*overrides, text="", columns=COLUMNS):
    return limits_of(policy(*overrides, text=text), SEGMENTS, columns)


def as_said(decision):
    """The bytes of a decision but for the digest, which tells that the file says something else."""
    return msgspec.json.encode(replace(decision, policy=""), order="sorted")


# ---- laws

shares = st.floats(0, 1)
cells = st.lists(st.tuples(st.sampled_from(SEGMENTS), st.sampled_from(COLUMNS)), max_size=4)


@st.composite
def any_readings(draw):
    readings = quiet()
    for segment, column in draw(cells):
        size, evidence = draw(st.floats(0, 0.3)), draw(st.floats(-5, 60))
        readings = with_drift(readings, (segment, column), size=size, evidence=evidence)
    for segment in draw(st.lists(st.sampled_from(SEGMENTS), max_size=3)):
        readings = with_drop(readings, segment, drop=draw(st.floats(0, 0.2)), evidence=draw(st.floats(-5, 60)))
    if draw(st.booleans()):
        readings = with_fault(readings, draw(st.sampled_from(SEGMENTS)), share=draw(shares))
    return with_labels(readings, draw(st.integers(0, 1000)))


histories = st.dictionaries(
    st.tuples(st.sampled_from(["performance", "drift", "drift+estimated_drop"]), st.sampled_from(SEGMENTS)).map(
        ":".join
    ),
    st.integers(1, 3),
).map(lambda runs: History(runs=runs))

# Every key of an override, with the value that a segment of 4,000 of 10,000 rows has from the defaults.
OWN_VALUES = (
    "drift: {threshold: 0.05}",
    "drift: {columns: {text: {threshold: 0.05}, prediction: {ignore: false}}}",
    "performance: {max_drop: 0.03}",
    "data_quality: {missing: 0.05, unseen: 0.05, out_of_range: 0.05}",
    "persist: 2",
    "requires: {labelled_rows: 200}",
    "gate: {max_segment_drop: 0.02, min_segment_labels: 100}",
)


def _key(part):
    return part.partition(":")[0]


def test_the_keys_of_these_laws_are_all_there_are():
    assert {_key(part) for part in OWN_VALUES} == set(Override.__dataclass_fields__) - {"segment"}


@given(any_readings(), histories, st.lists(st.sampled_from(OWN_VALUES), unique_by=_key))
@settings(max_examples=60, deadline=None)
def test_an_override_that_says_what_holds_anyway_changes_no_decision(readings, history, parts):
    said = policy(f"{{{', '.join(['segment: intent=returns', *parts])}}}")
    assert as_said(decide(said, readings, history, NOW)) == as_said(decide(policy(), readings, history, NOW))


STRANGE = "drift: {threshold: 0}, performance: {max_drop: 0}, persist: 9, requires: {labelled_rows: 7}"


@given(any_readings(), histories)
@settings(max_examples=60, deadline=None)
def test_a_pattern_that_fits_no_segment_changes_nothing(readings, history):
    said = policy(f"{{segment: 'intent=nobody*', {STRANGE}}}")
    assert as_said(decide(said, readings, history, NOW)) == as_said(decide(policy(), readings, history, NOW))


@given(any_readings(), histories)
@settings(max_examples=60, deadline=None)
def test_a_star_is_the_same_as_another_policy(readings, history):
    said = policy("{segment: '*', drift: {threshold: 0.2}, performance: {max_drop: 0.1}, persist: 1}")
    other = policy(text="drift: {threshold: 0.2}\nperformance: {max_drop: 0.1}\npersist: 1\n")
    assert as_said(decide(said, readings, history, NOW)) == as_said(decide(other, readings, history, NOW))


@given(any_readings())
@settings(max_examples=60, deadline=None)
def test_another_segment_is_judged_as_before(readings):
    said = policy(f"{{segment: intent=returns, {STRANGE}}}")
    own, plain = assess(said, readings, NOW), assess(policy(), readings, NOW)
    others = [0, 2]
    assert np.array_equal(own.drift.over[others], plain.drift.over[others])
    assert np.array_equal(own.performance.over[others], plain.performance.over[others])
    assert np.array_equal(own.quality.cells[others], plain.quality.cells[others])


# ---- which override a segment has


def test_an_exact_name_wins_then_the_first_pattern():
    names = ("intent=*", "intent=returns*", "intent=returns", "*")
    overrides = [Override(name) for name in names]
    found = {
        "intent=returns": 2,
        "intent=returns,channel=web": 0,
        "intent=fit": 0,
        "channel=web": 3,
        "all": 3,
    }
    assert {segment: place_of(overrides, segment) for segment in found} == found
    assert place_of(overrides[1:3], "intent=fit") is None


def test_an_empty_override_takes_a_segment_out_of_a_pattern():
    found = limits("{segment: 'intent=*', persist: 5}", "{segment: intent=returns}")
    assert found.persist.tolist() == [2, 2, 5]


# ---- what each key does, to its segment alone


def test_each_limit_is_the_segments_own():
    found = limits(
        "{segment: intent=returns, drift: {threshold: 0.2}, performance: {max_drop: 0.1}, persist: 4,"
        " data_quality: {missing: 0.3, unseen: 0.2}, requires: {labelled_rows: 900}}"
    )
    assert found.size.tolist() == [[0.05, 0.05], [0.2, 0.2], [0.05, 0.05]]
    assert found.drop.tolist() == [0.03, 0.1, 0.03]
    assert found.persist.tolist() == [2, 4, 2]
    assert found.share[1].tolist() == [{"missing": 0.3, "type": 0.3, "unseen": 0.2}.get(k, 0.05) for k in FAULT_KINDS]
    assert set(found.share[[0, 2]].ravel().tolist()) == {0.05}
    assert found.labelled_rows.tolist() == [500, 900, 500]
    assert found.is_own.tolist() == [False, True, False]


def test_columns_are_merged_over_those_of_the_policy():
    text = "drift: {columns: {prediction: {threshold: 0.3}, 'te*': {threshold: 0.4}, debug: ignore}}\n"
    columns = ("prediction", "text", "tempo", "debug", "other")
    whole = limits("{segment: intent=returns, drift: {threshold: 0.2}}", text=text, columns=columns)
    assert whole.size[1].tolist() == [0.3, 0.4, 0.4, 0.2, 0.2]  # what the policy says of a column stays
    own = "text: {threshold: 0.6}, 'te*': {threshold: 0.5}, prediction: ignore, debug: {ignore: false}"
    found = limits(f"{{segment: intent=returns, drift: {{columns: {{{own}}}}}}}", text=text, columns=columns)
    assert found.size[1].tolist() == [0.3, 0.6, 0.5, 0.05, 0.05]
    assert found.ignored[1].tolist() == [True, False, False, False, False]
    assert found.ignored[0].tolist() == [False, False, False, True, False]


def test_the_name_of_the_target_stands_for_the_prediction_here_too():
    found = limits("{segment: intent=returns, drift: {columns: {intent: {threshold: 0.6}}}}")
    assert found.size[1].tolist() == [0.6, 0.05]


def answers(rules, readings, code, segment="intent=returns", history=None):
    decision = decide(rules, readings, history or History(), NOW)
    return [reason for reason in decision.reasons if (reason.code, reason.segment) == (code, segment)]


def test_a_drop_that_is_allowed_there_does_not_ask_and_the_reason_shows_the_own_limit():
    rules = policy("{segment: intent=returns, performance: {max_drop: 0.2}}")
    dropped, history = with_drop(quiet(), "intent=returns"), lasting("performance:intent=returns")
    assert decide(policy(), dropped, history, NOW).action == "retrain"
    assert decide(rules, dropped, history, NOW).action == "watch"
    small = answers(rules, dropped, "size_below_threshold", history=history)[0]
    assert (small.met, small.observed, small.limit) == (True, 0.1, 0.2)
    assert "0.2 is the smallest of interest" in small.text


def test_a_drift_that_is_small_there_asks_where_the_segment_is_dear():
    rules = policy("{segment: intent=returns, drift: {columns: {text: {threshold: 0.01}}}}")
    drifted = with_drift(quiet(), ("intent=returns", "text"), size=0.02)
    history = lasting("drift:intent=returns")
    assert decide(policy(), drifted, history, NOW).action == "watch"
    assert decide(rules, drifted, history, NOW).action == "retrain"
    assert answers(rules, drifted, "size_below_threshold", history=history)[-1].limit == 0.01


def test_the_estimated_drop_asked_for_is_the_segments_own():
    rules = policy("{segment: intent=returns, performance: {max_drop: 0.2}}")
    drifted = with_drift(quiet(), ("intent=returns", "text"))
    drops = np.array([0.0, 0.1, 0.0])
    drifted = replace(drifted, performance=replace(drifted.performance, estimated_drop=drops))
    only = "retrain: {when: [{drift: {segments: 1, columns: 1}, and: estimated_drop}]}\n"
    history = lasting("drift+estimated_drop:intent=returns")
    plain = parse(HEAD + only)
    assert decide(plain, drifted, history, NOW).action == "retrain"
    own = replace(plain, overrides=rules.overrides)
    assert decide(own, drifted, history, NOW).action == "watch"
    (asked,) = answers(own, drifted, "drift_with_estimated_drop", history=history)
    assert (asked.observed, asked.limit) == (0.1, 0.2)
    assert "is 0.1, 0.2 is needed" in asked.text


def test_persistence_is_asked_for_as_the_segment_says():
    rules = policy("{segment: intent=returns, persist: 3}")
    dropped, history = with_drop(quiet(), "intent=returns"), lasting("performance:intent=returns")
    decision = decide(rules, dropped, history, NOW)
    assert (decision.action, decision.states["intent=returns"]) == ("watch", "watch")
    assert answers(rules, dropped, "not_persistent", history=history)[0].limit == 3
    later = decide(rules, dropped, history.after(decision), NOW)
    assert (later.action, later.states["intent=returns"]) == ("retrain", "drifting")


def test_labels_of_the_segment_are_counted_as_they_are():
    dropped, history = with_labels(with_drop(quiet(), "intent=returns"), 600), lasting("performance:intent=returns")
    assert answers(policy(), dropped, "insufficient_labels", history=history)[0].limit == 200  # its share of 500
    rules = policy("{segment: intent=returns, requires: {labelled_rows: 700}}")
    (few, *_) = answers(rules, dropped, "insufficient_labels", history=history)
    assert (few.met, few.observed, few.limit) == (True, 600, 700)
    assert decide(rules, dropped, history, NOW).action == "watch"


def test_broken_values_that_are_usual_there_are_no_fault():
    rules = policy("{segment: intent=returns, data_quality: {missing: 0.5}}")
    assert decide(policy(), with_fault(quiet(), "intent=returns"), History(), NOW).fault_open
    assert not decide(rules, with_fault(quiet(), "intent=returns"), History(), NOW).fault_open
    assert decide(rules, with_fault(quiet(), "intent=shipping"), History(), NOW).fault_open


def test_the_gate_asks_of_the_segment_what_its_override_says():
    champion, challenger = np.ones(400), np.repeat([1.0, 0.0], [320, 80])
    members = np.ones((1, 400), bool)
    rules = policy("{segment: intent=returns, gate: {max_segment_drop: 0.5, min_segment_labels: 50}}")
    own = {"intent=returns": policy_for(rules, "intent=returns").gate}

    def answer_of(gate, **more):
        return judge(gate, champion, challenger, ["intent=returns"], members, **more).segments[1].answer

    assert answer_of(Gate()) == "worse"
    assert answer_of(Gate(), own=own) == "better_or_equal"
    assert answer_of(Gate(min_segment_labels=500), own=own) == "better_or_equal"
    assert policy_for(rules, "all").gate == rules.gate


def test_the_console_shows_the_segments_own_threshold():
    rules = policy("{segment: intent=returns, drift: {columns: {text: {threshold: 0.5}, prediction: ignore}}}")
    views = segments_view(rules, quiet(), dict.fromkeys(SEGMENTS, "ok"))
    shown = [{column["column"]: column["threshold"] for column in view["columns"]} for view in views]
    assert shown == [{"prediction": 0.05, "text": 0.05}, {"text": 0.5}, {"prediction": 0.05, "text": 0.05}]


# ---- overrides that can never apply


@pytest.mark.parametrize(
    ("segment", "told"),
    [
        ("market=DE", 'no cut has the column "market" of the segment "market=DE"; the cuts have: intent, channel'),
        ("mar*=DE", 'no cut has the column "mar*"'),
        ("'intent=a,market=DE'", 'no cut has the column "market"'),
        ("returns", 'expected `all`, a segment like column=value or a pattern, saw "returns"'),
        ("channel=web", 'the segment "channel=web" is of the cut [channel]; the cuts are: [intent], [intent, channel]'),
        (
            "'channel=web,intent=a'",
            'the segment "channel=web,intent=a" is of the cut [channel, intent]; the cuts are: [intent], [intent, ',
        ),
    ],
)
def test_a_segment_that_cannot_be_is_refused(segment, told):
    assert f"shop.yaml:6:3: overrides: {told}" in complaints(f"{{segment: {segment}, persist: 3}}")


@pytest.mark.parametrize(
    "segment", ["all", "'*'", "'ret*'", "'intent=a,*'", "'*=web'", "'intent=\"a,b\"'", "'intent=\"a=b\",channel=web'"]
)
def test_a_segment_that_may_come_is_taken(segment):
    assert policy(f"{{segment: {segment}, persist: 3}}").overrides[0].persist == 3


def test_two_overrides_of_one_segment_are_one_too_many():
    told = complaints("{segment: all, persist: 3}", "{segment: all, persist: 4}")
    assert 'the segment "all" has two overrides: keep one of them' in told


@pytest.mark.parametrize("key", ["statistic: ks", "volume: 0.5"])
def test_what_is_the_same_for_all_segments_has_no_override(key):
    part = "data_quality" if "volume" in key else "drift"
    assert "unknown key" in complaints(f"{{segment: all, {part}: {{{key}}}}}")
