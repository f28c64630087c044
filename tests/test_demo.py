import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from service.demo.story import FolderInUse, run_demo
from service.demo.traffic import Chapter
from service.serve import OpenToAll

SHORT = (
    Chapter("history", 3_000, "History trains the first model."),
    Chapter("stable", 300, "Nothing changes."),
    Chapter("drift", 500, "Instant exchange starts."),
    Chapter("broken", 250, "The feed breaks."),
    Chapter("recovered", 1_300, "The feed is whole again."),
)
LOOPBACK = {"host": "127.0.0.1", "port": 0}


def told(chapters: tuple[Chapter, ...], data_dir: Path | None) -> tuple[int, str]:
    """The exit code, and what a console without a terminal shows."""
    shown = io.StringIO()
    code = run_demo(Console(file=shown, width=100), data_dir, serve=True, chapters=chapters, **LOOPBACK)
    return code, shown.getvalue()


@pytest.fixture(scope="module")
def short_story(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, Path]:
    folder = tmp_path_factory.mktemp("demo") / "data"
    return *told(SHORT, folder), folder


def part(text: str, begins: str, ends: str) -> str:
    """What is told between two headings."""
    found = re.search(rf"^\d? ?{begins}.*?(?=^\d? ?{ends})", text, re.MULTILINE | re.DOTALL)
    assert found, f"no part from {begins} to {ends}"
    return " ".join(found[0].split())


def test_the_story_keeps_its_promises_and_ends_without_a_terminal(short_story: tuple[int, str, Path]) -> None:
    code, text, _ = short_story
    assert code == 0, text
    assert "NO" not in [line.split()[0] for line in text.splitlines() if line.strip()]
    assert "The console" not in text


def test_a_broken_feed_is_reported_and_opens_no_retraining(short_story: tuple[int, str, Path]) -> None:
    broken = part(short_story[1], "broken:", "recovered:")
    assert "data_fault" in broken
    assert "Faults reported: order_value missing" in broken
    assert "Retrainings: 0." in broken
    assert "RETRAIN:" not in broken


def test_the_drift_ends_in_a_release_that_is_watched(short_story: tuple[int, str, Path]) -> None:
    recovered = part(short_story[1], "recovered:", "What is now")
    steps = ["RETRAIN: ", "Curated from", "Checkpoints", "The gate", "RELEASED: version 2", "watched until"]
    assert set(steps) == {step for step in steps if step in recovered}
    assert sorted(steps, key=recovered.index) == steps
    assert "rows labelled since the release" in part(short_story[1], "What is now", "What happened")


def test_what_is_told_names_the_reasons(short_story: tuple[int, str, Path]) -> None:
    _, text, _ = short_story
    told_codes = {"insufficient_rows", "evidence_below_threshold", "performance_drop", "data_fault", "cooling_down"}
    assert {code for code in told_codes if code not in text} == set()
    assert "labels came, at least 12 h after their predictions" in " ".join(text.split())


def test_the_report_is_where_the_end_says(short_story: tuple[int, str, Path]) -> None:
    _, text, folder = short_story
    reports = [Path(line) for line in text.split() if line.endswith("report.html")]
    assert reports
    assert all(report.is_file() and folder in report.parents for report in reports)


def test_lines_are_plain_and_fit_the_page(short_story: tuple[int, str, Path]) -> None:
    _, text, folder = short_story
    assert all(line.isprintable() for line in text.splitlines())
    assert [line for line in text.splitlines() if len(line) > 100 and str(folder) not in line] == []


def test_a_story_without_drift_retrains_nothing_and_says_that_it_is_not_the_demo() -> None:
    code, text = told((SHORT[0], Chapter("stable", 900, "Nothing changes.")), None)
    assert code == 1
    assert "RETRAIN:" not in text
    assert "yes    nothing was retrained while nothing had changed" in text
    assert "NO     the drift led to a retraining that passed the gate and was released" in text
    folder = re.search(r"All data are in (\S+),", text)
    assert folder
    assert not Path(folder[1]).exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FolderInUse, match="empty folder"):
        told(SHORT, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_the_console_is_not_shown_to_other_machines(tmp_path: Path) -> None:
    with pytest.raises(OpenToAll):
        run_demo(Console(file=io.StringIO(), force_terminal=True), tmp_path, serve=True, host="192.0.2.1", port=0)
