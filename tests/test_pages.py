from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from itertools import pairwise

import httpx
import pytest
from houses import HOSTILE, NOON, POLICY, client_of, evaluate, give_baseline, open_shop, with_group
from streams import START, predictions

from service.evidence import reports as evidence
from service.house import House
from service.ledger.records import (
    Aftermath,
    DecisionRecord,
    Evaluation,
    Regression,
    Release,
    Retraining,
    Trial,
    Watch,
)
from service.storage.embedded import Embedded
from service.web.pages import STATE_SIGNS
from service.web.snapshot import SEGMENT_STATES

VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """What a reader of the page meets: elements with their attributes, the text, and what was not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "dd":
            self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


@pytest.fixture
def house(server: Embedded, tmp_path) -> Iterator[House]:
    with open_shop(server, tmp_path) as opened:
        yield opened


@pytest.fixture
def client(house: House) -> Iterator[httpx.Client]:
    with client_of(house) as opened:
        yield opened


def page_of(client: httpx.Client) -> Page:
    answer = client.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return Page(answer.text)


def flat(page: Page) -> str:
    return " ".join(page.text.split())


def fill(house: House) -> None:
    """A decision, a retraining that was refused, releases, a watch."""
    evaluate(house)
    reasons = [
        {"code": "size_below_threshold", "met": True, "text": "all: too small"},
        {"code": "performance_drop", "met": True, "text": "intent=returns: performance asks for a retraining"},
        {"code": "not_persistent", "met": False, "text": "never shown"},
        {"code": "data_fault", "met": True, "text": f"the feed {HOSTILE} is broken"},
    ]
    decision = DecisionRecord(
        "d-1", "shop", "1", NOON, "retrain", reasons, {"all": "drifting"}, ("all",), None, "p", "b"
    )
    evaluation = house.ledger.evaluation("shop")
    shown = replace(
        evaluation,
        faults=("intent=returns: text missing",),
        findings=(f"a new value {HOSTILE}",),
    )
    house.ledger.record(shown, decision, [])
    segment = {
        "name": "all",
        "n": 300,
        "champion": 0.9,
        "challenger": 0.81,
        "gain": -0.09,
        "answer": "not_enough_labels",
    }
    refused = Retraining(
        "r-1", "shop", "d-1", "1", "refused", NOON, ("performance_drop",), ("intent=returns",), finished_at=NOON,
        labelled_rows=812, version="2", note="all: worse by 9 points", verdict={"passed": False, "segments": [segment]},
    )  # fmt: skip
    house.ledger.open_retraining(refused)
    give_baseline(house, "2")
    released = Release("shop", "2", "1", NOON, "release", "better on every segment")
    house.ledger.move_champion(released, Watch("2", "1", NOON))


def test_an_empty_house_says_what_to_do_first(server: Embedded, tmp_path):
    with open_shop(server, tmp_path, policy="") as house, client_of(house) as client:
        text = flat(page_of(client))
    assert "There is no model yet." in text
    assert "tidegate baseline build FILE" in text


def test_a_model_without_a_baseline_says_what_it_waits_for(client):
    text = flat(page_of(client))
    assert "tidegate baseline build FILE --model shop --version VERSION" in text
    assert "blind" in text


def test_every_segment_shows_its_state_in_words_with_its_numbers(house, client):
    evaluate(house)
    page = page_of(client)
    used = [each for each in house.ledger.evaluation("shop").segments if each["rows"] or each["baseline_rows"]]
    assert page.count("tr") == len(used) + 1
    for each in used:
        assert each["segment"] in page.text
        assert f"{STATE_SIGNS[each['state']]} {each['state']}" in flat(page)
    assert " % " in flat(page)
    assert "psi" in page.text


def test_every_state_has_a_sign_of_its_own():
    assert set(STATE_SIGNS) == set(SEGMENT_STATES)
    assert len(set(STATE_SIGNS.values())) == len(SEGMENT_STATES)


def test_decisions_retrainings_and_releases_are_told_in_words(house, client):
    fill(house)
    text = flat(page_of(client))
    for said in (
        "retrain 2026-01-03 12:00 UTC, version 1",
        "intent=returns: performance asks for a retraining",
        "refused 2026-01-03 12:00 UTC, version 2, learnt from 812 labelled rows, because of performance_drop in intent",
        "all: worse by 9 points",
        "The gate says fail",
        "not enough labels",
        "release 2026-01-03 12:00 UTC: version 2 after 1. better on every segment",
        "Version 2 is watched against 1 until",
        "intent=returns: text missing",
        "Champion 2",
    ):
        assert said in text
    assert "never shown" not in text
    assert text.index("performance asks") < text.index("all: too small")


def test_a_trial_and_what_came_of_releases_are_told(house, client):
    fill(house)
    ledger = house.ledger
    segment = {
        "name": "all",
        "answer": "better_or_equal",
        "rows": 120,
        "labels": 40,
        "champion": 0.9,
        "challenger": 0.91,
    }
    trial = Trial("canary", 0.05, NOON, NOON + timedelta(hours=6), 120, 40, segments=(segment,), text="120 rows so far")
    tried = Retraining("r-9", "shop", "d-1", "2", "trying", NOON, ("manual",), (), version="9", trial=trial)
    ledger.open_retraining(tried)
    ledger.record_regression(Regression("shop", "0", "x", NOON, "worse in all", rows=300, rollback="automatic"))
    means = {"before": {"mean": 0.8, "rows": 900}, "now": {"mean": 0.6, "rows": 500}}
    asked = {"segment": "all", "answer": "cleared", "text": "accuracy is back"}
    found = Aftermath("shop", "2", NOON, "cleared", (asked,), {"field": "resolved", **means, "is_worse": True})
    ledger.save_aftermath(found)
    text = flat(page_of(client))
    for said in (
        "Version 9 is on trial as a canary against 2 since",
        "with 5.0 % of the traffic. 120 rows so far",
        "tidegate cancel r-9",
        "all better or equal 120 40 0.9 0.91",
        "version 0 was worse in all, 300 rows; rolled back",
        "what asked for it has cleared: all: accuracy is back.",
        "resolved is 0.6 on 500 rows, 0.8 on 900 of the version before: worse",
    ):
        assert said in text


def test_evidence_is_linked_once_it_is_there(house, client):
    fill(house)
    assert "/v1/decisions/d-1/evidence" not in client.get("/").text
    folder = evidence.folder_of(house.settings.data_dir, "d-1")
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<h1>Drift</h1>")
    links = [attributes.get("href") for tag, attributes in page_of(client).elements if tag == "a"]
    assert "/v1/decisions/d-1/evidence" in links
    assert all(client.get(link).status_code == 200 for link in links if link and link.startswith("/v1"))


def test_hostile_names_are_shown_and_never_run(house, client):
    give_baseline(house, rows=with_group(predictions(3_000, seed=99, start=START - 180_000), HOSTILE))
    evaluate(house, with_group(predictions(2_800, seed=1), HOSTILE))
    fill(house)
    page = page_of(client)
    assert page.count("script") == 0
    assert f"group={HOSTILE}" in page.text
    assert f"the feed {HOSTILE} is broken" in page.text
    assert f"a new value {HOSTILE}" in page.text


def test_a_page_may_load_nothing_but_its_style(client):
    answer = client.get("/")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self';")
    style = client.get("/static/console.css")
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    page = Page(answer.text)
    assert [a["href"] for tag, a in page.elements if tag == "link" and a["rel"] == "stylesheet"] == [
        "/static/console.css"
    ]
    assert not [a for _, a in page.elements if "style" in a or any(name.startswith("on") for name in a)]


def test_a_bad_policy_edit_is_a_banner(house, client):
    (house.policies.folder / "shop.yaml").write_text(POLICY + "persist: often\n")
    (house.policies.folder / "zoo.yaml").write_text(f"model: '{HOSTILE}'\n")
    house.policies.reload()
    page = page_of(client)
    assert "The newest policy file of shop is not in force." in page.text
    assert "shop.yaml:9:10: persist" in page.text
    assert "A policy file cannot be used:" in page.text
    assert [a["role"] for _, a in page.elements if a.get("class") == "banner"] == ["alert", "alert"]
    assert page.count("script") == 0


def test_the_page_can_be_read_by_ear(house, client):
    fill(house)
    page = page_of(client)
    assert page.open == []
    assert page.elements[0] == ("html", {"lang": "en"})
    assert (page.count("h1"), page.count("main"), page.count("title")) == (1, 1, 1)
    assert page.count("table") == page.count("caption") > 1
    assert all(a.get("scope") in {"row", "col"} for tag, a in page.elements if tag == "th")
    levels = [int(tag[1]) for tag, _ in page.elements if tag in {"h1", "h2", "h3"}]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    names = [a["id"] for _, a in page.elements if "id" in a]
    assert len(names) == len(set(names))
    labelled = {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    assert labelled <= set(names)


def test_it_looks_again_by_itself_without_scripts(client):
    page = page_of(client)
    assert ("meta", {"http-equiv": "refresh", "content": "10"}) in page.elements
    assert page.count("script") == 0


@pytest.mark.parametrize("state", ["ok", "watch", "drifting", "insufficient", "blind", "fault", "new-one"])
def test_any_state_and_missing_numbers_can_be_shown(house, client, state):
    read = {
        "segment": "all", "state": state, "rows": 1, "baseline_rows": 9, "faults": [],
        "columns": [{"column": "x", "statistic": "psi", "size": None, "threshold": 0.1, "evidence_ln": None}],
        "performance": {"metric": "mae", "value": None, "expected": 12.5, "estimate": None},
    }  # fmt: skip
    house.ledger.record(Evaluation("shop", "1", at=NOON, segments=[read]), None, ())
    text = flat(page_of(client))
    assert state in text
    assert "12.5" in text


CONTRAST_PAIRS = [("ink", "paper"), ("soft", "paper"), ("soft", "ground"), ("link", "paper"), ("link", "ground")] + [
    (state, "paper") for state in SEGMENT_STATES
]


@pytest.mark.parametrize("pair", CONTRAST_PAIRS, ids="-".join)
def test_text_stands_out_from_its_ground(client, pair):
    style = client.get("/static/console.css").text
    colours = {}
    for part in style[style.index("{") + 1 : style.index("}")].split(";"):
        name, _, value = part.strip().partition(": ")
        colours[name.removeprefix("--")] = value
    lighter, darker = sorted((luminance(colours[name]) for name in pair), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5  # WCAG 2.2, 1.4.3


def luminance(colour: str) -> float:
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(w * s for w, s in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
