"""The model report: one value in two forms, what it says of each verdict, where it is kept, and who may see it."""

import re
from dataclasses import replace
from datetime import timedelta

import msgspec
import numpy as np
import pytest
from houses import HOSTILE, NOON, client_of
from houses import open_shop as open_house
from hypothesis import given, settings
from hypothesis import strategies as st
from test_gate import CASE, classified, harmed, outcomes_of, side
from test_pages import Page
from test_replay import POLICY, rows
from test_retrain import open_shop

from policies.file.parse import parse
from policies.file.policy import Gate
from policies.gate import Readiness, align, compare_classes, judge
from service.commands import retrainings as command
from service.ledger.records import Retraining
from service.notices.messages import link_of
from service.notices.wording import ended
from service.report.build import report_of
from service.report.curve import curve_of
from service.report.render import plain_line, style_of, to_html, to_markdown
from service.retraining.opening import open_retraining
from service.retraining.report import keep_report, read_report

POLICY_VALUE = parse("model: shop\ntask: {kind: classification, target: intent, outcome: resolved}\nowner: ana\n")
RETRAINING = Retraining(
    id="r-0123456789ab",
    model="shop",
    decision="d-1",
    champion="1",
    state="judging",
    opened_at=NOON,
    reasons=("performance_drop",),
    segments=("intent=returns",),
    version="2",
    labelled_rows=1_200,
    checkpoints=tuple(
        {"step": step, "effort": 1.0, "loss": 0.5, "validation_loss": loss, "is_best": loss == 0.4,
         "metrics": {"all": {"rows": 100, "accuracy": 0.8}}, "candidate": "history"}
        for step, loss in enumerate((0.6, 0.4, 0.45), 1)
    ),
    manifest={
        "rows": 2_000,
        "excluded": {"relabelled": 12, "without_label": 0},
        "parts": {"holdout": {"rows": 400, "from": "2026-01-02T00:00:00+00:00", "until": "2026-01-03T00:00:00+00:00",
                              "digest": "f" * 64, "segments": {}}},
    },
)  # fmt: skip
EVEN = np.array([60, 60])


def judged(pairs=None, gate=None, *, state="released", **found) -> Retraining:
    """The record of a retraining with a verdict."""
    pairs = pairs or classified()
    groups = np.stack([np.arange(len(pairs)) % 4 == 0])
    ready = Readiness(**{"cases": 2, **found})
    verdict = judge(gate or Gate(min_gain=-1), *outcomes_of(pairs), ("intent=returns",), groups, pairs=pairs,
                    readiness=ready, success_metric="accuracy")  # fmt: skip
    return replace(RETRAINING, verdict=msgspec.to_builtins(verdict), state=state)


EVERYTHING = judged(
    harmed("macro_f1"),
    state="refused",
    failed=(replace(CASE, name="edge", features={"text": "where is it?"}),),
    latency_p95=timedelta(milliseconds=3),
    size_bytes=1_500_000,
    distribution=compare_classes("ab", EVEN, np.array([90, 30]), EVEN, EVEN),
    alignment=align("resolved", np.repeat([1.0, 0.0], 200), np.repeat([1.0, 0.0], 200)),
)


def both(retraining: Retraining, policy=POLICY_VALUE) -> tuple[str, str]:
    report = report_of(policy, retraining)
    return to_markdown(report), to_html(report)


def sections(text: str) -> list[str]:
    return re.findall(r"^## (.+)$", text, re.MULTILINE)


def test_both_forms_have_the_same_sections_and_cells():
    report = report_of(POLICY_VALUE, EVERYTHING)
    markdown, html = to_markdown(report), Page(to_html(report))
    assert html.open == []
    assert sections(markdown) == [section.title for section in report.sections]
    for section in report.sections:
        assert section.title in html.text
        for table in section.tables:
            for cell in (cell for row in table.rows for cell in row):
                assert cell in html.text
                assert plain_line(cell) in markdown
        assert all(sentence in html.text and plain_line(sentence) in markdown for sentence in section.says)


def test_one_verdict_with_all_its_reasons_comes_first():
    report = report_of(POLICY_VALUE, EVERYTHING)
    assert report.answer == "refused"
    assert any("edge said returns, not fit" in text for text in report.refusals)
    assert any("macro_f1" in text for text in report.refusals)
    assert any(" of recent rows" in text for text in report.warnings)
    (conditions,) = (section for section in report.sections if section.title == "Every condition")
    assert len(conditions.tables[0].rows) == len(EVERYTHING.verdict["reasons"])
    markdown, _ = both(EVERYTHING)
    assert markdown.index("refused") < markdown.index("## Metrics side by side")


def test_a_model_that_passed_says_what_to_look_at_after_its_release():
    pairs = classified(120)
    markdown, html = both(judged(pairs))
    assert "After the release" in html
    assert "It is watched for 7d against version 1 on the same rows" in markdown
    assert "performance\\_drop in intent=returns" in markdown
    assert "Have rows labelled where the labels did not suffice: intent=returns (about 70 more)" in markdown
    assert "✓ passed" in markdown


def test_confidences_that_became_worse_are_told_though_they_are_not_judged():
    markdown, _ = both(judged(harmed("calibration"), Gate(min_gain=-1, metrics=(("log_loss", None), ("brier", None)))))
    assert "Its confidences are off by" in markdown
    assert re.search(r"\| calibration \|.*not judged \|", markdown)


def test_what_could_not_be_measured_says_so_and_why():
    why = {"latency_p95": "the model stays where it was trained", "max_size": "the same"}
    gate = Gate(min_gain=-1, latency_p95=timedelta(seconds=1), max_size=5)
    markdown, _ = both(judged(gate=gate, unmeasured=why))
    assert "the latency is not measured: the model stays where it was trained" in markdown
    assert "Latency, 95th percentile of one prediction | - |" in markdown


def test_a_retraining_that_was_not_judged_says_what_came_instead():
    failed = replace(RETRAINING, state="failed", note="the trainer was killed", verdict={})
    report = report_of(POLICY_VALUE, failed)
    assert (report.answer, report.headline) == ("not judged", "It was not judged: the trainer was killed.")
    assert [section.title for section in report.sections] == ["Why it was retrained", "Training", "Data"]


def test_the_same_record_gives_the_same_bytes_and_a_verdict_of_before_these_metrics_is_still_shown():
    assert both(EVERYTHING) == both(EVERYTHING)
    old = {name: EVERYTHING.verdict[name] for name in ("passed", "segments", "reasons")}
    markdown, _ = both(replace(EVERYTHING, verdict=old))
    assert "Segments" in sections(markdown)
    assert "Metrics side by side" not in sections(markdown)
    unknown = report_of(POLICY_VALUE, replace(EVERYTHING, verdict={"passed": False, "segments": [{"name": "all"}]}))
    assert (unknown.answer, "not read here" in unknown.headline) == ("refused", True)


@given(st.text(min_size=1, max_size=40))
@settings(max_examples=40, deadline=None)
def test_nothing_that_a_sender_wrote_becomes_markup(text):
    case = {"name": text, "segment": text, "features": {text: text}, "expected": text, "said": text}
    ready = EVERYTHING.verdict["readiness"] | {"failed": [case]}
    found = replace(EVERYTHING, verdict=EVERYTHING.verdict | {"readiness": ready})
    report = report_of(POLICY_VALUE, replace(found, note=text, segments=(text,), uri=text))
    page = Page(to_html(report))
    assert page.open == []
    assert page.count("script") == page.count("img") == page.count("a") - len(report.sections) == 0
    lines = to_markdown(report).splitlines()
    assert "<" not in "".join(lines)
    width = next(line.count(" | ") for line in lines if line.startswith("| Case"))
    case_row = next(at for at, line in enumerate(lines) if line.startswith("| Case")) + 2
    assert len(re.findall(r"(?<!\\)\|", lines[case_row])) == width + 2


def test_the_curve_has_a_line_for_each_candidate_and_marks_its_best():
    curve = curve_of(RETRAINING.checkpoints)
    assert [(line.name, [point.is_best for point in line.points]) for line in curve.lines] == [
        ("history", [False, True, False])
    ]
    best, worst = curve.lines[0].points[1], curve.lines[0].points[0]
    assert best.y > worst.y  # a lower loss lies lower
    assert curve_of(RETRAINING.checkpoints[:1]) is None


# ---- where it is


@pytest.fixture
def house(server, tmp_path):
    with open_house(server, tmp_path) as opened:
        opened.ledger.add_model("shop")
        opened.ledger.open_retraining(replace(EVERYTHING, version=HOSTILE))
        yield opened


def test_it_is_served_as_html_or_markdown_with_no_more_rights_than_it_needs(house):
    found = house.ledger.retrainings("shop")[0]
    with client_of(house) as client:
        page = client.get(f"/v1/retrainings/{found.id}/report")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert style_of(page.content) in policy
        assert "<script" not in page.text
        assert Page(page.text).open == []
        for markdown in (
            client.get(f"/v1/retrainings/{found.id}/report.md"),
            client.get(f"/v1/retrainings/{found.id}/report", headers={"accept": "text/markdown"}),
        ):
            assert markdown.headers["content-type"] == "text/markdown; charset=utf-8"
            assert markdown.text.startswith("# shop: version")
        assert client.get("/v1/retrainings/r-ffffffffffff/report").status_code == 404
        assert f"/v1/retrainings/{found.id}/report" in client.get("/").text


def test_the_kept_report_is_served_as_it_was_kept(house):
    found = house.ledger.retrainings("shop")[0]
    keep_report(house, POLICY_VALUE, found)
    kept = read_report(house, found, "html")
    assert read_report(house, replace(found, champion="other"), "html") == kept
    with client_of(house) as client:
        assert client.get(f"/v1/retrainings/{found.id}/report").content == kept


def test_a_retraining_keeps_its_report_when_it_ends(tmp_path):
    with open_shop(tmp_path, rows(2600, flips_at=1500)) as shop:
        shop.serve(1000, 2600)
        open_retraining(shop.house, shop.decision(change_at=1500))
        done = shop.loop().finish("flip")
        text = (tmp_path / "retrainings" / done.id / "report.md").read_text()
        assert "State: released" in text
        assert "## Metrics side by side" in text
        assert "| all |" in text
        assert read_report(shop.house, done, "html") == to_html(report_of(parse(POLICY), done)).encode()


def test_a_notice_of_a_judged_retraining_links_to_its_report():
    notice = ended(EVERYTHING, NOON)
    assert link_of(notice, "https://t.example") == "https://t.example/v1/retrainings/r-0123456789ab/report"
    failed = ended(replace(EVERYTHING, state="failed", verdict={}), NOON)
    assert link_of(failed, "https://t.example") == "https://t.example/?model=shop"
    assert link_of(notice, "") == ""


def test_the_command_line_prints_it(house, capsys):
    found = house.ledger.retrainings("shop")[0]
    with client_of(house) as client:
        options = {"url": str(client.base_url), "model": found.id, "report": True, "follow": False, "json": False}
        assert command.run(type("Options", (), options)()) == 0
        assert capsys.readouterr().out.startswith("# shop: version")
        assert command.run(type("Options", (), options | {"model": "shop"})()) == 1


def test_a_worse_model_is_told_metric_by_metric():
    pairs = classified(300)
    worse = replace(pairs, challenger=side(pairs.truth, np.random.default_rng(9), 0.6))
    markdown, html = both(judged(worse, state="refused"))
    assert re.search(r"\| accuracy \|.*✕ worse \|", markdown)
    assert 'class="mark worse"' in html
    assert "What next" in sections(markdown)
