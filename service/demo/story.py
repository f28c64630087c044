"""`tidegate demo`: AwesomeShoes, start to finish, on the embedded store and a clock that follows the story.

The customers are invented (`traffic`); all else is the code of production, and every number is measured.
"""

import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import current_thread, main_thread
from typing import cast

import pyarrow as pa
from rich.console import Console

import policies
from monitors.baseline.baselines import Baseline
from policies.file.policy import Policy
from service.demo.account import Scene, accuracies, check, first_accuracy
from service.demo.console import address_of, check_host, listening, serve_console
from service.demo.play import Play
from service.demo.summary import Places, tell_end
from service.demo.telling import Teller
from service.demo.traffic import STORY, Chapter, story
from service.errors import ServiceError
from service.failures.looking import look_if_due
from service.house import House, joiner_of, open_house, worker_of
from service.launching.here import Here
from service.launching.port import Order
from service.replay import FileClock
from service.settings import Durability, Settings
from service.training.checkpoints import Checkpoint
from service.training.first_model import train_first
from service.training.references import read_reference
from service.training.train_files import read_outcome
from service.training.training_errors import TrainingFailed

POLICY = Path(policies.__file__).with_name("examples") / "awesomeshoes-demo.yaml"
BEGINS = datetime(2026, 11, 2, tzinfo=UTC)


class FolderInUse(ServiceError):
    """The folder for the demo's data holds something."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} is not empty, and the demo begins a new story: give --data-dir an empty folder")


def run_demo(
    console: Console,
    data_dir: Path | None,
    *,
    serve: bool,
    host: str,
    port: int,
    chapters: Sequence[Chapter] = STORY,
) -> int:
    """Play and tell the story; 0 if it kept its promises, 1 if not. The first chapter trains the first model.

    With `serve` and a terminal the console is served afterwards, until Ctrl-C. The data go to `data_dir`, which must
    be empty, or to a folder that is removed at the end.

    Raises:
        FolderInUse, OpenToAll, StoreError: it cannot start; the message says what to do.
    """
    serve = serve and console.is_terminal
    if serve:
        check_host(host)
    with _folder(data_dir) as folder, _ending():
        settings = _settings(folder, host, port)
        clock = FileClock()
        with open_house(settings, clock) as house, listening(host, port, wanted=serve) as listener:
            url = address_of(listener) if listener else ""
            kept = _tell(console, house, clock, chapters, Places(url, folder, is_kept=data_dir is not None))
            if listener:
                serve_console(console, house, listener)
    return 0 if kept else 1


def _tell(console: Console, house: House, clock: FileClock, chapters: Sequence[Chapter], places: Places) -> bool:
    """The whole story and its end; whether every promise was kept."""
    (state,) = house.policies.states().values()
    teller = Teller(console, state.policy)
    teller.tell_beginning(state.file, places.folder, is_kept=places.is_kept)
    play = Play(house, clock, state.policy, _Told(house, teller))
    reports = play.loop.reports
    try:
        scenes = list(_scenes(house, clock, state.policy, play, teller, chapters))
        if house.ledger.retrainings(state.policy.model):
            teller.page.say()
            teller.page.say("Evidently writes its report of what was retrained on, for a person to read ...")
            with teller.page.bar("writing the report", None):
                reports.wait()
    finally:
        reports.close()
    measured = accuracies(house, state.policy, scenes)
    promises = check(scenes, measured, state.policy)
    tell_end(teller, house, state.policy, scenes, measured, promises, places)
    return all(promise.is_kept for promise in promises)


def _scenes(
    house: House, clock: FileClock, policy: Policy, play: Play, teller: Teller, chapters: Sequence[Chapter]
) -> Iterator[Scene]:
    worker, joiner = worker_of(house), joiner_of(house)
    worker.acquire()
    for place, (chapter, rows) in enumerate(story(BEGINS, chapters=chapters)):
        begins, ends = (rows.column("timestamp")[at].as_py() for at in (0, -1))
        scene = Scene(chapter, begins, ends)
        teller.open_scene(scene)
        if place:
            scene = replace(scene, ticks=teller.follow(play.perform(rows, worker, joiner), rows.num_rows))
            teller.close_scene(scene)
            teller.tell_failures(look_if_due(house, policy))
        else:
            clock.now = ends
            _train_first(house, policy, play, teller, rows)
        yield scene
    joiner.release()
    worker.release()


def _train_first(house: House, policy: Policy, play: Play, teller: Teller, rows: pa.Table) -> None:
    noted: list[Checkpoint] = []
    with teller.page.bar("training the first model", None):
        version = train_first(house, play.registry, policy, rows, house.clock(), noted.append)
    taught = cast("pa.Table", read_reference(house.files, policy.model, version))  # kept with its baseline
    baseline = cast("Baseline", house.ledger.baseline(policy.model, version))  # no champion is without one
    teller.tell_first(noted, first_accuracy(taught, version), baseline)


class _Told(Here):
    """Trains in this process, and tells it as it goes; that what passed is taught again is told with its release."""

    def __init__(self, house: House, teller: Teller) -> None:
        super().__init__(lambda _, checkpoint: self._tell(checkpoint))
        self._house, self._teller = house, teller
        self._noted: list[Checkpoint] = []

    def launch(self, order: Order) -> None:
        if order.name != order.retraining:
            super().launch(order)
            return
        ledger = self._house.ledger
        retraining = ledger.retraining(order.model, order.retraining)
        decision = ledger.decision(order.model, retraining.decision) if retraining else None
        if retraining is not None and decision is not None:
            self._teller.tell_opened(decision, retraining)
        self._noted.clear()
        super().launch(order)
        with suppress(TrainingFailed):
            self._teller.tell_trained(self._noted, read_outcome(order.folder))

    def _tell(self, checkpoint: Checkpoint) -> None:
        self._noted.append(checkpoint)
        self._teller.tell_checkpoint(checkpoint)


def _settings(folder: Path, host: str, port: int) -> Settings:
    policy_files = folder / "policies.d"
    policy_files.mkdir()
    shutil.copyfile(POLICY, policy_files / POLICY.name)
    return Settings(
        data_dir=folder, policies=policy_files, partitions=1, durability=Durability("everysec"), host=host, port=port
    )


@contextmanager
def _folder(data_dir: Path | None) -> Iterator[Path]:
    if data_dir is None:
        with tempfile.TemporaryDirectory(prefix="tidegate-demo-") as folder:
            yield Path(folder)
        return
    data_dir.mkdir(parents=True, exist_ok=True)
    if any(data_dir.iterdir()):
        raise FolderInUse(data_dir)
    yield data_dir.absolute()


@contextmanager
def _ending() -> Iterator[None]:
    """SIGTERM and a closed terminal end like Ctrl-C does: the store is stopped, a temporary folder removed."""
    if current_thread() is not main_thread():
        yield
        return
    told: list[int] = []

    def interrupt(number: int, _: object) -> None:
        told.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except RuntimeError as error:
        # An interrupted DuckDB query ends with an error of its own.
        if told:
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
