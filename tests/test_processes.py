"""Trainers as processes of this machine: real ones, good and bad."""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.file.trainers import BuiltinTrainer, CommandTrainer
from service.launching.child import Child
from service.launching.command import Command
from service.launching.ends import place_of
from service.launching.limits import LOG_BYTES, Limits
from service.launching.port import Launcher, LaunchFailed, Order, OrderDiffers, Progress
from service.launching.untrusted import NotPlain, is_plain, open_plain
from service.training.train_files import Job, read_outcome, write_job

LIMITS = Limits(memory_bytes=4 << 30, cpu_seconds=600, disk_bytes=1 << 30)
ANSWERS = "open('answer/predictions.parquet', 'w').write('x')\n"
FORGES = "open('../training.process/exit.json', 'w').write('{')"
NEVER = datetime(9000, 1, 1, tzinfo=UTC)


def script(folder: Path, text: str, timeout: timedelta = timedelta(minutes=5)) -> Order:
    """An order whose trainer is this Python program, in a folder as the course prepares it."""
    work = folder / "training"
    work.mkdir(parents=True)
    job = Job("shop", "2", "classification", NEVER.isoformat(), ("after_change",), {})
    write_job(work, job)
    # Without site packages: nothing of them is needed, and it starts at once.
    trainer = CommandTrainer((sys.executable, "-I", "-S", "-c", text), timeout)
    return Order("r-1", "r-1", "shop", "2", work, trainer, "d1", NEVER)


@contextmanager
def launching(limits: Limits = LIMITS) -> Iterator[Command]:
    command = Command(limits)
    try:
        yield command
    finally:
        command.close()


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what has to come; a test that waits in vain fails here."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def text_of(order: Order, name: str) -> str:
    """What its trainer wrote to a file of its own; empty before."""
    file = order.folder / name
    return file.read_text() if file.exists() else ""


def ended(launcher: Launcher, order: Order) -> Progress:
    until(lambda: launcher.look(order).state != "running")
    return launcher.look(order)


def played(order: Order, limits: Limits = LIMITS) -> Progress:
    """Launch it and see it end."""
    with launching(limits) as command:
        command.launch(order)
        return ended(command, order)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


# ---- the way of an order


def test_a_program_that_answers_succeeds_and_its_checkpoints_are_told(tmp_path: Path) -> None:
    line = json.dumps({"step": 1, "loss": 0.5, "metrics": {"all": {"accuracy": 0.75}}})
    order = script(tmp_path, f"open('checkpoints.ndjson', 'w').write({line!r} + chr(10) + '{{\"st')\n{ANSWERS}")
    done = played(order)
    assert (done.state, done.reason) == ("succeeded", "")
    assert [(c.step, c.loss, c.metrics["all"]["accuracy"], c.is_best) for c in done.checkpoints] == [
        (1, 0.5, 0.75, True)
    ]


def test_what_was_never_started_is_lost_and_what_ended_is_never_started_again(tmp_path: Path) -> None:
    order = script(tmp_path, f"open('times', 'a').write('x')\n{ANSWERS}")
    with launching() as command:
        assert command.look(order).state == "lost"
        for _ in range(3):
            command.launch(order)
            assert ended(command, order).state == "succeeded"
    assert (order.folder / "times").read_text() == "x"


def test_another_order_of_the_same_name_is_refused(tmp_path: Path) -> None:
    order = script(tmp_path, "import time; time.sleep(600)")
    with launching() as command:
        command.launch(order)
        with pytest.raises(OrderDiffers, match="r-1"):
            command.launch(replace(order, digest="d2"))
        command.cancel(order)
        assert ended(command, order).reason == "it was cancelled"
        with pytest.raises(OrderDiffers):
            command.launch(replace(order, digest="d2"))


def test_a_cancelled_order_ends_for_good_whether_it_had_begun_or_not(tmp_path: Path) -> None:
    begun, never = (script(tmp_path / name, "import time; time.sleep(600)") for name in ("begun", "never"))
    with launching() as command:
        command.launch(begun)
        for order in (begun, never):
            command.cancel(order)
            assert ended(command, order).state == "failed"
            command.launch(order)
            assert command.look(order).state == "failed"
            assert "cancelled" in command.look(order).reason


def test_a_service_that_stops_ends_its_trainers_and_they_can_be_started_again(tmp_path: Path) -> None:
    order = script(tmp_path, "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)")
    with launching() as command:
        command.launch(order)
        until(lambda: bool(text_of(order, "pid")))
    assert not is_alive(int(text_of(order, "pid")))
    (order.folder / "pid").unlink()
    with launching() as command:
        stopped = command.look(order)
        assert (stopped.state, stopped.is_stopped) == ("lost", True)
        command.launch(order)
        until(lambda: bool(text_of(order, "pid")))
        assert command.look(order).state == "running"


def test_the_orphan_of_a_killed_leader_is_seen_left_alone_and_ended_by_the_next(tmp_path: Path) -> None:
    order = script(tmp_path, "import os, time\nopen('pids', 'a').write(f'{os.getpid()} ')\ntime.sleep(600)")
    leader = multiprocessing.get_context("fork").Process(target=_lead_and_die, args=(order,))
    leader.start()
    leader.join()
    assert leader.exitcode == -signal.SIGKILL
    with launching() as second:
        until(lambda: bool(text_of(order, "pids")))
        assert second.look(order).state == "running"
        second.launch(order)
        second.cancel(order)
        assert ended(second, order).reason == "it was cancelled"
    pids = text_of(order, "pids").split()
    assert len(pids) == 1
    assert not is_alive(int(pids[0]))


def test_the_exit_of_an_orphan_is_known_to_the_next_leader(tmp_path: Path) -> None:
    order = script(tmp_path, "print('no such table'); raise SystemExit(7)")
    leader = multiprocessing.get_context("fork").Process(target=_lead_and_die, args=(order,))
    leader.start()
    leader.join()
    with launching() as second:
        assert ended(second, order).reason == "it ended with code 7; its last words: no such table"


def _lead_and_die(order: Order) -> None:
    Command(LIMITS).launch(order)
    os.kill(os.getpid(), signal.SIGKILL)


def test_leaders_that_launch_at_once_start_it_once(tmp_path: Path) -> None:
    order = script(tmp_path, f"import time\nopen('times', 'a').write('x')\ntime.sleep(0.5)\n{ANSWERS}")
    leaders = [multiprocessing.get_context("fork").Process(target=_lead, args=(order,)) for _ in range(4)]
    for each in leaders:
        each.start()
    for each in leaders:
        each.join()
    with launching() as command:
        assert ended(command, order).state == "succeeded"
    assert (order.folder / "times").read_text() == "x"


def _lead(order: Order) -> None:
    command = Command(LIMITS)
    command.launch(order)
    ended(command, order)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_with_its_keeper_a_trainer_dies_and_is_lost(tmp_path: Path) -> None:
    order = script(
        tmp_path, "import os, time\nopen('pids', 'w').write(f'{os.getpid()} {os.getppid()}')\ntime.sleep(600)"
    )
    with launching() as command:
        command.launch(order)
        until(lambda: " " in text_of(order, "pids"))
        trainer, keeper = map(int, text_of(order, "pids").split())
        os.kill(keeper, signal.SIGKILL)
        lost = ended(command, order)
        assert (lost.state, lost.is_stopped) == ("lost", False)
        assert not is_alive(trainer)


# ---- what trainers do wrong


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise SystemExit(3)", "it ended with code 3; it said nothing"),
        ("print('half way'); raise RuntimeError('no rows')", "RuntimeError: no rows"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it was ended by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 40)", "it was ended by signal 40"),
        (f"{FORGES}; raise SystemExit(5)", "it ended with code 5"),
        ("print('done')", "without an answer, neither model/ nor answer/predictions.parquet; its last words: done"),
        ("import os; os.symlink('/etc/passwd', 'answer/predictions.parquet')", "without an answer"),
        ("import os; os.mkfifo('answer/predictions.parquet')", "without an answer"),
        ("import os; os.link('job.json', 'answer/predictions.parquet')", "without an answer"),
        ("import os; os.rmdir('answer'); os.symlink('/tmp', 'answer')", "without an answer"),
        ("import os\nwhile True: pass", "it used more processor time than TIDEGATE_TRAINER_CPU allows"),
        ("x = bytearray(900 << 20)", "MemoryError"),
        ("f = open('model.bin', 'wb')\nwhile True: f.write(bytes(1 << 20))", "File too large"),
        (
            "import time\nfor i in range(40): open(f'part-{i}', 'wb').write(bytes(1 << 20))\ntime.sleep(600)",
            "its folder grew beyond TIDEGATE_TRAINER_DISK_BYTES",
        ),
    ],
)
def test_a_trainer_that_goes_wrong_fails_with_its_reason(tmp_path: Path, text: str, reason: str) -> None:
    limits = Limits(memory_bytes=600 << 20, cpu_seconds=1, disk_bytes=20 << 20)
    done = played(script(tmp_path, text), limits)
    assert done.state == "failed"
    assert reason in done.reason


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    order = replace(script(tmp_path, ""), trainer=CommandTrainer(("/no/such/trainer",)))
    done = played(order)
    assert done.state == "failed"
    assert "could not be started" in done.reason
    assert "/no/such/trainer" in done.reason


def test_one_that_hangs_and_ignores_the_polite_signal_is_killed_at_its_timeout(tmp_path: Path) -> None:
    text = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"
    done = played(script(tmp_path, text, timeout=timedelta(seconds=1)))
    assert done.state == "failed"
    assert "longer than its timeout of 0:00:01" in done.reason


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to the keeper")
def test_nothing_of_a_trainer_outlives_it(tmp_path: Path) -> None:
    fork = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        open('pid', 'w').write(str(os.getpid()))\n"
        "        time.sleep(600)\n"
        "    os._exit(0)\n"
        "while not os.path.exists('pid') or not open('pid').read(): time.sleep(0.01)\n"
    )
    order = script(tmp_path, fork + ANSWERS)
    assert played(order).state == "succeeded"
    assert not is_alive(int(text_of(order, "pid")))


def test_gigabytes_of_words_leave_the_last_ones(tmp_path: Path) -> None:
    text = "for i in range(2000): print('x' * 10_000)\nprint('the end'); raise SystemExit(1)"
    order = script(tmp_path, text)
    assert played(order).reason.endswith("the end")
    kept = sum((place_of(order) / name).stat().st_size for name in ("log", "log.before"))
    assert kept <= 2 * LOG_BYTES


def test_a_trainer_sees_its_order_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TIDEGATE_STORE", "TIDEGATE_NOTICE_SECRET", "TIDEGATE_KEY", "AWS_SECRET_ACCESS_KEY", "TRAINER_SECRET"):
        monkeypatch.setenv(name, "secret")
    text = f"import json, os\njson.dump(dict(os.environ), open('seen.json', 'w'))\n{ANSWERS}"
    order = script(tmp_path, text)
    assert played(order).state == "succeeded"
    seen = json.loads((order.folder / "seen.json").read_text())
    assert "secret" not in seen.values()
    told = {name: value for name, value in seen.items() if name.startswith("TIDEGATE_")}
    at = str(order.folder)
    assert told == {
        "TIDEGATE_FOLDER": at,
        "TIDEGATE_JOB": f"{at}/job.json",
        "TIDEGATE_TRAIN": f"{at}/train-after_change.parquet",
        "TIDEGATE_VALIDATION": f"{at}/validation.parquet",
        "TIDEGATE_UNSEEN": f"{at}/unseen.parquet",
        "TIDEGATE_ANSWER": f"{at}/answer",
        "TIDEGATE_RETRAINING": "r-1",
        "TIDEGATE_MODEL": "shop",
        "TIDEGATE_VERSION": "2",
    }


# ---- the built-in one


def test_the_builtin_trainer_ends_with_an_outcome_and_a_killed_one_goes_on(tmp_path: Path) -> None:
    from test_train_job import prepared

    prepared(tmp_path / "training")
    order = Order("r-2", "r-2", "assistant", "2", tmp_path / "training", BuiltinTrainer(), "d", NEVER)
    first, second = Child(LIMITS), Child(LIMITS)
    try:
        first.launch(order)
        until(lambda: bool(first.look(order).checkpoints))
        first.close()
        assert second.look(order).state in {"lost", "succeeded"}
        second.launch(order)
        done = ended(second, order)
    finally:
        second.close()
    assert (done.state, done.reason) == ("succeeded", "")
    outcome = read_outcome(order.folder)
    assert outcome.checkpoint in done.checkpoints
    assert set(done.checkpoints[-1].metrics) == {"all", "channel=web", "channel=app"}


def test_the_builtin_trainer_says_why_it_could_not(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    order = Order("r-3", "r-3", "assistant", "2", tmp_path / "training", BuiltinTrainer(), "d", NEVER)
    child = Child(LIMITS)
    try:
        child.launch(order)
        done = ended(child, order)
    finally:
        child.close()
    assert done.state == "failed"
    assert "job.json is not a training job" in done.reason


def test_a_folder_that_cannot_be_written_is_a_launch_that_failed(tmp_path: Path) -> None:
    order = script(tmp_path, ANSWERS)
    place_of(order).write_text("a file in its place")
    with launching() as command, pytest.raises(LaunchFailed, match="could not be started"):
        command.launch(order)


# ---- files that a trainer wrote


@given(parts=st.lists(st.sampled_from(["..", "/", "deep", "link", "file", "pipe", "twin"]), min_size=1, max_size=4))
@settings(deadline=None)
def test_no_name_leads_out_of_the_folder_or_waits(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    folder = tmp_path_factory.getbasetemp() / "untrusted"
    if not folder.exists():
        (folder / "deep" / "deep").mkdir(parents=True)
        (folder / "file").write_text("mine")
        (folder / "deep" / "file").write_text("mine")
        (folder / "link").symlink_to("/etc")
        (folder / "deep" / "link").symlink_to("/etc/passwd")
        os.mkfifo(folder / "pipe")
        (folder.parent / "file").write_text("theirs")
        os.link(folder.parent / "file", folder / "twin")
    name = "/".join(parts)
    with suppress(FileNotFoundError, NotPlain), open_plain(folder, name) as file:
        assert file.read() == b"mine"
    assert is_plain(folder, name) == (str(Path(name)) in {"file", "deep/file"})
