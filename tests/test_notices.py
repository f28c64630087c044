"""What is worth a notice, how it reads, and the outbox that keeps it."""

import base64
import hashlib
import hmac
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.errors import PolicyInvalid
from policies.file.notices import DEFAULT_NOTICES, NOTICE_KINDS
from policies.file.parse import parse
from service.errors import BadSetting
from service.ledger.records import FINISHED, Evaluation, Regression, Release, Retraining
from service.notices import wording
from service.notices.messages import cloud_event, slack
from service.notices.news import Facts, Told, notices_of
from service.notices.notice import Notice
from service.notices.outbox import MOST, Letter, Outbox, again, ended
from service.orders.approvals import WAITING, Awaiting
from service.settings import Settings

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY = "model: shop\ntask: {kind: classification, target: intent}\n"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def retraining(name="r-1", state="training", at=NOON, **more):
    finished = at + MINUTE if state in FINISHED else None
    known = {"reasons": ("performance_drop",), "segments": ("intent=returns",), "finished_at": finished, **more}
    return Retraining(name, "shop", "d-1", "1", state, at, **known)


def facts(minutes=0, **so):
    return Facts("shop", NOON + minutes * MINUTE, **{"evaluation": Evaluation("shop"), **so})


def evaluation(minutes=0, **so):
    return Evaluation("shop", version="1", at=NOON + minutes * MINUTE, **so)


def reason(code, *, met=True, observed=None, text="a text"):
    return {"code": code, "met": met, "segment": "all", "observed": observed, "limit": None, "text": text}


def awaiting(decision="d-7", segments=("all",)):
    return Awaiting("shop", decision, NOON, segments, ("accuracy fell",), "train a new version", WAITING)


def waiting(minutes, decision="d-7", segments=("all",), **more):
    return facts(minutes, waits=awaiting(decision, segments), **more)


def tell(*looks, told=None):
    """The notices of one look after the other."""
    told, said = told or Told(), []
    for look in looks:
        news, told = notices_of(told, look)
        said += news
    return said


def kinds(notices):
    return [notice.type.removeprefix("tidegate.") for notice in notices]


# ---- laws

STATES = ("requested", "training", "judging", *FINISHED)
LOOKS = st.builds(
    lambda minutes, so: facts(minutes, **so),
    st.integers(0, 600),
    st.fixed_dictionaries(
        {
            "retrainings": st.dictionaries(st.sampled_from(["r-1", "r-2", "r-3"]), st.sampled_from(STATES)).map(
                lambda states: [retraining(name, state) for name, state in states.items()]
            ),
            "releases": st.integers(0, 3).map(
                lambda n: [Release("shop", "1", "2", NOON + i * MINUTE, "rollback", "worse") for i in range(n)]
            ),
            "regression": st.none() | st.just(Regression("shop", "2", "1", NOON, "worse in all")),
            "blind": st.sampled_from(["", "no row comes"]),
            "problem": st.sampled_from(["", "shop.yaml:3:1: unknown key", "shop.yaml:4:1: another"]),
            "quiet": st.just(timedelta(hours=5)),
            "evaluation": st.builds(
                lambda at, fault, quiet: evaluation(
                    at,
                    fault_open=fault,
                    fault_quiet_since=None if fault else NOON + quiet * MINUTE,
                ),
                st.integers(0, 600),
                st.booleans(),
                st.integers(0, 300),
            ),
            "waits": st.none() | st.builds(awaiting, st.sampled_from(["d-1", "d-2"]), st.just(("all",))),
        }
    ),
)


@given(st.lists(LOOKS, min_size=1, max_size=6))
@settings(deadline=None, max_examples=150)
def test_whatever_happens_what_was_told_is_not_told_again(looks):
    told = Told()
    for look in looks:
        _, told = notices_of(told, look)
        assert notices_of(told, look) == ([], told)


@given(st.lists(LOOKS, min_size=1, max_size=6))
@settings(deadline=None, max_examples=150)
def test_the_same_happening_always_has_the_same_id_and_no_other_has_it(looks):
    before = Told()
    for look in looks:
        notices, told = notices_of(before, look)
        assert notices_of(before, look) == (notices, told)
        assert len({notice.id for notice in notices}) == len(notices)
        assert all(re.fullmatch(r"n-[0-9a-f]{24}", notice.id) for notice in notices)
        assert {notice.kind for notice in notices} <= set(NOTICE_KINDS)
        assert all(notice.title.startswith("shop: ") and all(notice.lines) for notice in notices)
        before = told


@given(st.lists(st.sampled_from(STATES), min_size=1, max_size=8), st.sampled_from(FINISHED))
@settings(deadline=None)
def test_a_retraining_is_told_once_when_it_opens_and_once_when_it_ends(states, end):
    running = [state for state in states if state not in FINISHED]
    seen = tell(*(facts(i, retrainings=[retraining(state=s)]) for i, s in enumerate([*running, end, end])))

    assert kinds(seen) == ["retraining.opened", f"retraining.{end}"]


# ---- happenings, one by one


def test_an_opened_retraining_says_what_asked_for_it():
    why = {"r-1": [reason("performance_drop", text="accuracy fell by 0.08"), reason("twin_better", met=False)]}
    (opened,) = tell(facts(retrainings=[retraining()], why=why))

    assert (opened.kind, opened.title) == ("retraining_opened", "shop: a retraining was opened")
    assert opened.lines == ("accuracy fell by 0.08", "retraining r-1 of decision d-1")
    assert [each["code"] for each in opened.facts["reasons"]] == ["performance_drop"]


def test_a_release_says_from_what_to_what_why_and_by_how_much():
    verdict = {"segments": [{"name": "all", "n": 800, "champion": 0.71, "challenger": 0.83, "gain": 0.12}]}
    done = retraining(state="released", version="2", verdict=verdict)
    ended_ = tell(facts(2, retrainings=[done]))[-1]

    assert ended_.title == "shop: version 2 replaced 1"
    assert ended_.lines[:2] == (
        "because of performance_drop in intent=returns",
        "on 800 unseen rows 0.710 before, 0.830 after",
    )
    assert ended_.facts["judged"]["gain"] == 0.12


@pytest.mark.parametrize("state", ["refused", "failed", "cancelled"])
def test_a_retraining_that_brings_nothing_says_why_and_what_stays(state):
    told = tell(facts(2, retrainings=[retraining(state=state, note="the trainer ended with 137")]))[-1]

    assert "1 stays" in told.title
    assert told.lines[0] == told.facts["note"] == "the trainer ended with 137"


def test_what_ended_while_nobody_looked_for_two_days_is_not_told():
    late = facts(minutes=2 * 24 * 60, retrainings=[retraining(state="failed")])

    assert tell(late) == []


def test_a_rollback_is_told_with_its_reason_and_a_release_is_not():
    first = Release("shop", "1", "", NOON, "first", "the start")
    back = Release("shop", "1", "2", NOON, "rollback", "ann: it refuses returns")
    (told,) = tell(facts(releases=[first]), facts(1, releases=[first, back]))

    assert (told.type, told.lines) == ("tidegate.champion.rolled_back", ("ann: it refuses returns",))


def test_a_regression_that_is_left_to_people_says_how_to_go_back():
    (told,) = tell(facts(regression=Regression("shop", "2", "1", NOON, "worse in all on 300 labels")))

    assert told.title == "shop: version 2 does worse than 1 did"
    assert told.lines == ("worse in all on 300 labels", "to go back: tidegate rollback shop --why …")


def test_an_approval_is_asked_for_once_a_day_and_names_the_decision():
    first, second = tell(waiting(0), waiting(60, "d-8"), waiting(24 * 60, "d-9"))

    assert first.lines == (
        "accuracy fell",
        "it would train a new version",
        "to agree: tidegate approve d-7 --why …",
    )
    assert second.facts["decision"] == "d-9"


def test_an_approval_is_asked_for_again_where_it_is_another_question():
    seen = [
        tell(waiting(0), waiting(15, "d-8", segments=("all", "intent=returns"))),
        tell(waiting(0), facts(15), waiting(30, "d-8", retrainings=[retraining(at=NOON + 10 * MINUTE)])),
    ]

    assert [kinds(each).count("approval.awaited") for each in seen] == [2, 2]


def test_an_approval_whose_cause_comes_and_goes_is_asked_for_once_a_day():
    assert len(tell(waiting(0), facts(15), waiting(30), facts(45), waiting(60))) == 1


def test_a_feed_that_breaks_again_and_again_is_one_fault_and_ends_when_it_stays_whole():
    broken = [reason("data_fault", text="all: 90% of text is missing, 1% in the baseline")]
    hours = timedelta(hours=5)
    looks = [
        facts(0, evaluation=evaluation(0, fault_open=True, reasons=broken), quiet=hours),
        facts(60, evaluation=evaluation(60, fault_quiet_since=NOON + 60 * MINUTE), quiet=hours),
        facts(120, evaluation=evaluation(120, fault_open=True, reasons=broken), quiet=hours),
        facts(180, evaluation=evaluation(180, fault_quiet_since=NOON + 180 * MINUTE), quiet=hours),
        facts(480, evaluation=evaluation(180, fault_quiet_since=NOON + 180 * MINUTE), quiet=hours),
    ]
    opened, over = tell(*looks)

    assert opened.lines[0] == "all: 90% of text is missing, 1% in the baseline"
    assert kinds([opened, over]) == ["fault.opened", "fault.ended"]
    assert over.lines == ("quiet since 2026-11-23 15:00 UTC, it was broken since 2026-11-23 12:00",)


def test_a_model_that_becomes_blind_is_told_each_time_it_does():
    seen = tell(
        facts(0, blind="no row comes"), facts(1, blind="no row comes"), facts(2), facts(3, blind="no row comes")
    )

    assert kinds(seen) == ["model.blind", "model.blind"]
    assert len({notice.id for notice in seen}) == 2


def test_every_bad_edit_of_a_policy_is_told_with_line_and_column():
    one, two = "shop.yaml:3:1: unknown key", "shop.yaml:4:9: expected a number"
    seen = tell(facts(0, problem=one), facts(1, problem=one), facts(2, problem=two), facts(3), facts(4, problem=one))

    assert [notice.lines[0] for notice in seen] == [one, two, one]
    assert len({notice.id for notice in seen}) == 3


# ---- what the policy and the operator choose


def test_a_policy_names_the_kinds_it_wants_and_a_slip_is_corrected():
    assert parse(POLICY).notices == DEFAULT_NOTICES
    assert parse(POLICY + "notices: []").notices == ()
    with pytest.raises(PolicyInvalid, match='did you mean "retraining_ended"'):
        parse(POLICY + "notices: [retraining_end]")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NOTICE_SECRET", "plain"),
        ("NOTICE_SECRET", "whsec_c2hvcnQ="),
        ("NOTICE_URL", "ftp://hooks.example/T0/B0/private"),
        ("SLACK_URL", "hooks.example/T0/B0/private"),
        ("SLACK_URL", "https://user:private@hooks.example/"),
    ],
)
def test_an_unusable_address_or_secret_is_refused_and_not_repeated(name, text):
    with pytest.raises(BadSetting) as refused:
        Settings.read({f"TIDEGATE_{name}": text})

    assert text not in str(refused.value)


def test_settings_do_not_show_where_notices_go():
    chosen = Settings.read({"TIDEGATE_NOTICE_SECRET": SECRET, "TIDEGATE_SLACK_URL": "https://hooks.example/T0/B0"})

    assert chosen.notice_secret == SECRET
    assert SECRET not in repr(chosen)
    assert "hooks.example" not in repr(chosen)


# ---- how it reads

NOTICE = Notice(
    "n-1", "blind", "tidegate.model.blind", "shop", NOON, "shop: nothing", ("no row",), {"reason": "no row"}
)
CONSOLE = "https://tidegate.example/ml"


def test_the_event_is_a_cloudevent_in_the_structured_form():
    """The attributes and their forms are those of CloudEvents 1.0.2, sections Required and Optional Attributes."""
    message = cloud_event(NOTICE, NOON + MINUTE, console=CONSOLE, secret=SECRET)
    event = json.loads(message.body)

    assert message.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in event)
    assert {name: event[name] for name in ("specversion", "id", "type", "source", "subject")} == {
        "specversion": "1.0",
        "id": "n-1",
        "type": "tidegate.model.blind",
        "source": CONSOLE,
        "subject": "shop",
    }
    assert datetime.fromisoformat(event["time"]) == NOON
    assert event["datacontenttype"] == "application/json"
    assert event["data"]["reason"] == "no row"
    assert event["data"]["link"] == f"{CONSOLE}/?model=shop"
    assert json.loads(cloud_event(NOTICE, NOON, console="", secret="").body)["source"] == "urn:tidegate"


@given(st.text(max_size=50), st.integers(0, 2**33))
def test_the_signature_is_the_one_of_the_published_recipe(line, at):
    """standardwebhooks.com: base64 of HMAC-SHA256 over `id.timestamp.body`, keyed by the secret's decoded bytes."""
    now = datetime.fromtimestamp(at, UTC)
    message = cloud_event(replace(NOTICE, lines=(line,)), now, console=CONSOLE, secret=SECRET)
    said = message.headers
    content = b".".join([said["webhook-id"].encode(), said["webhook-timestamp"].encode(), message.body])
    expected = hmac.new(base64.b64decode(SECRET[6:]), content, hashlib.sha256).digest()

    assert said["webhook-signature"] == "v1," + base64.b64encode(expected).decode()
    assert said["webhook-timestamp"] == str(at)
    assert said["webhook-id"] == json.loads(message.body)["id"]


PAGE = (Path(__file__).parent.parent / "docs/how-to/get-notices.md").read_text()


def test_what_the_docs_verify_with_takes_what_is_sent_and_nothing_else():
    page: dict = {}
    (source,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    exec(source, page)  # noqa: S102  the page's own lines
    message = cloud_event(NOTICE, NOON, console=CONSOLE, secret=SECRET)

    def is_genuine(body=message.body, secret=SECRET, seconds=1, **other):
        headers = {**message.headers, **{name.replace("_", "-"): value for name, value in other.items()}}
        return page["is_genuine"](headers, body, secret, now=lambda: NOON.timestamp() + seconds)

    assert is_genuine()
    assert is_genuine(webhook_signature="v1,bm8= " + message.headers["webhook-signature"])
    assert not is_genuine(body=message.body + b" ")
    assert not is_genuine(secret="whsec_" + base64.b64encode(bytes(32)).decode())
    assert not is_genuine(webhook_id="n-2")
    assert not is_genuine(seconds=600)


def test_the_docs_name_every_kind_and_every_type():
    assert set(re.findall(r"^\| `(\w+)` \|.*`tidegate\.", PAGE, re.MULTILINE)) == set(NOTICE_KINDS)
    told = set(re.findall(r"`(tidegate\.[\w.]+)`", PAGE)) | {f"tidegate.retraining.{end}" for end in FINISHED}
    source = (Path(wording.__file__)).read_text()
    made = {f"tidegate.{each}" for each in re.findall(r'"([a-z]+\.[a-z_]+)"', source)}
    assert told == made | {f"tidegate.retraining.{end}" for end in FINISHED}


def test_without_a_secret_nothing_is_signed():
    assert "webhook-signature" not in cloud_event(NOTICE, NOON, console="", secret="").headers


def test_slack_gets_two_or_three_lines_and_the_link():
    text = json.loads(slack(NOTICE, NOON, console=CONSOLE).body)["text"]

    assert text.splitlines() == ["*shop: nothing*", "no row", f"{CONSOLE}/?model=shop"]


def test_no_value_of_a_segment_can_call_everybody_or_make_a_link():
    hostile = replace(NOTICE, lines=("<!channel> & <https://evil.example|ok> @all", "x" * 5000))
    text = json.loads(slack(hostile, NOON, console="").body)["text"]

    assert "<" not in text
    assert "@all" not in text
    assert "&lt;!channel&gt; &amp;" in text
    assert len(text) < 1000


# ---- the outbox


def letter(name, kind="blind", to="webhook"):
    return Letter(replace(NOTICE, id=name, kind=kind), to, put_at=NOON, due_at=NOON)


def test_what_was_told_and_its_letters_are_written_together_and_once(any_store):
    outbox = Outbox(any_store)
    before, told = outbox.told("shop")
    assert told == Told()

    assert outbox.put("shop", before, Told(releases=1), [letter("n-1"), letter("n-1", to="slack")], NOON)
    assert not outbox.put("shop", before, Told(releases=2), [letter("n-2")], NOON)

    assert outbox.told("shop")[1] == Told(releases=1)
    assert [each.name for each in outbox.newest("shop")] == ["slack:n-1", "webhook:n-1"]


def test_the_same_notice_put_again_is_one_letter(any_store):
    outbox = Outbox(any_store)
    for told in (Told(releases=1), Told(releases=2)):
        assert outbox.put("shop", outbox.told("shop")[0], told, [letter("n-1")], NOON)
        outbox.settle(ended(letter("n-1"), "sent", "200 OK"))

    assert outbox.waiting("shop") == 0
    assert [each.state for each in outbox.newest("shop")] == ["sent"]


def test_letters_of_all_models_come_due_in_their_order(any_store):
    outbox = Outbox(any_store)
    for i, model in enumerate(("shop", "boots")):
        put = replace(letter(f"n-{i}"), notice=replace(NOTICE, id=f"n-{i}", model=model))
        assert outbox.put(model, b"", Told(), [put], NOON - i * MINUTE)
    outbox.settle(again(outbox.newest("shop")[0], NOON + MINUTE, "503"))

    assert [each.notice.model for each in outbox.due(["boots", "shop"], NOON)] == ["boots"]
    due = outbox.due(["boots", "shop"], NOON + MINUTE)
    assert [(each.notice.model, each.tries) for each in due] == [("boots", 0), ("shop", 1)]


def test_an_outbox_keeps_so_many_letters_and_counts_those_it_never_delivered(any_store):
    outbox = Outbox(any_store)
    outbox.put("shop", b"", Told(), [letter(f"n-{i}", "data_fault") for i in range(MOST)], NOON)
    outbox.settle(ended(letter("n-0", "data_fault"), "sent", "200 OK"))
    outbox.put("shop", outbox.told("shop")[0], Told(), [letter(f"m-{i}") for i in range(3)], NOON)

    kept = outbox.newest("shop", 10 * MOST)
    assert len(kept) == outbox.waiting("shop") == MOST
    assert {"webhook:n-0", "webhook:n-1", "webhook:n-2"}.isdisjoint(each.name for each in kept)
    found = any_store.do("HGETALL", "tg:{m:shop}:counts")
    counts = dict(zip(found[::2], map(int, found[1::2]), strict=True))
    assert counts == {b"notices:data_fault:sent": 1, b"notices:data_fault:dropped": 2}
    assert not outbox.settle(ended(letter("n-1", "data_fault"), "sent", "200 OK"))
