"""The leader loop: real scheduler processes on a real store, whose leader is killed or stopped for a while at random
moments of a retraining, and the check of what was started, and of what came of it.

The trainer is a command that notes its order's name in a file as it starts, and answers a moment later.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from leader import LEASE, settings_of
from test_course import answer
from test_replay import rows
from test_retrain import POLICY, POLICY_VALUE, Shop

from service.house import House, open_house
from service.intake.archive.tables import Roles, as_batch
from service.ledger.records import Release, Retraining
from service.replay import FileClock
from service.retraining.course import Course
from service.retraining.opening import open_retraining
from service.storage.embedded import Embedded
from service.training.first_model import train_first
from service.training.registry import Registry

ACTORS = 3
_PATIENCE_SECONDS = 300
_TRAINER = """echo "$TIDEGATE_RETRAINING" >> "$1/starts"
sleep 0.3
cp "$1"/answers/* "$TIDEGATE_ANSWER"/
"""
_COMMAND = "retrain: {{trainer: {{kind: command, command: [sh, '{0}/train.sh', '{0}']}}}}\nevaluate: 7d\n"


@dataclass(frozen=True)
class Found:
    """What a play came to: how often each retraining was started, and how each ended."""

    starts: Counter[str]
    ended: dict[str, str]
    releases: Counter[str]
    kills: int
    pauses: int

    @property
    def duplicates(self) -> int:
        """Starts of a training that was started before."""
        return sum(times - 1 for times in self.starts.values())

    @property
    def missed(self) -> int:
        """Retrainings that were not started, or not brought to the release that their answer earns, once."""
        good = (i for i, s in self.ended.items() if s == "released" and self.starts[i] and self.releases[i] == 1)
        return len(self.ended) - len(list(good))


class LeaderLoop:
    """The store, the actors, and a house to look at all that with. As a context manager: all ends with it."""

    def __init__(self, folder: Path, mode: str = "whole") -> None:
        self.folder = folder
        self.server = Embedded(folder / "store").start()
        (folder / "policies.d").mkdir()
        (folder / "policies.d" / "flip.yaml").write_text(POLICY.replace("evaluate: 1h\n", "") + _COMMAND.format(folder))
        (folder / "train.sh").write_text(_TRAINER)
        self._closing = contextlib.ExitStack()
        house = self._closing.enter_context(open_house(settings_of(folder, self.server.url), lambda: datetime.now(UTC)))
        self.house: House = house
        self._shop = self._open_shop()
        self._opened: list[Retraining] = []
        self._write_answers()
        command = [sys.executable, str(Path(__file__).with_name("leader.py")), str(folder), self.server.url, mode]
        root = Path(__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
        self._log = (folder / "log").open("wb")
        self.director = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment
        )
        self._say()
        self.pids = {self._start() for _ in range(ACTORS)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.director.communicate()
        self._log.close()
        self._closing.close()
        self.server.stop()

    def play(self, kills: int, pauses: int, seed: int, longest_seconds: float = 2.5) -> Found:
        """Strike so often at random moments, then let all settle."""
        chance = random.Random(seed)
        strikes = [self._kill] * kills + [self._pause] * pauses
        chance.shuffle(strikes)
        for strike in strikes:
            self._open_next()
            self._leader()
            time.sleep(chance.uniform(0.0, longest_seconds))  # when the next strike comes
            strike(self._leader(), chance)
        self._settle()
        starts = (self.folder / "starts").read_text().split()
        ledger = self.house.ledger
        return Found(
            Counter(starts),
            {each.id: ledger.retraining("flip", each.id).state for each in self._opened},
            Counter(each.retraining for each in ledger.releases("flip") if each.retraining),
            kills,
            pauses,
        )

    def _open_next(self) -> None:
        """A new retraining, where the one before has ended."""
        ledger = self.house.ledger
        if self._opened and not ledger.retraining("flip", self._opened[-1].id).is_finished:
            return
        champion = ledger.champion("flip")
        if champion != "1":
            ledger.move_champion(Release("flip", "1", champion, datetime.now(UTC), "rollback", "the next one"))
        decision = replace(self._shop.decision(change_at=1500), at=datetime.now(UTC))
        opened = open_retraining(self.house, decision)
        assert opened is not None
        self._opened.append(opened)

    def _settle(self) -> None:
        until = time.monotonic() + _PATIENCE_SECONDS
        last = self._opened[-1].id
        while not self.house.ledger.retraining("flip", last).is_finished and time.monotonic() < until:
            time.sleep(0.05)  # the leader brings it to its end

    def _leader(self) -> int:
        """The actor that leads now, or led last."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(OSError, ValueError):
                pid = int((self.folder / "leader").read_text())
                if pid in self.pids:
                    return pid
            time.sleep(0.01)  # one of those that are left takes over when the lease is over
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def _kill(self, pid: int, _: random.Random) -> None:
        os.kill(pid, signal.SIGKILL)
        self.pids.remove(pid)
        self.pids.add(self._start())

    def _pause(self, pid: int, chance: random.Random) -> None:
        """Longer than the lease: another one leads when it wakes up."""
        os.kill(pid, signal.SIGSTOP)
        time.sleep(LEASE.total_seconds() * chance.uniform(1.2, 2.5))  # how long it stands still
        os.kill(pid, signal.SIGCONT)

    def _start(self) -> int:
        self.director.stdin.write("lead\n")
        self.director.stdin.flush()
        return int(self._say())

    def _say(self) -> str:
        return self.director.stdout.readline()

    def _open_shop(self) -> Shop:
        """A champion whose labels turned at row 1500, and rows that say so."""
        world = as_batch(
            Path("made"), rows(3000, flips_at=1500), Roles(kinds=POLICY_VALUE.column_kinds()), "classification", ""
        )
        clock = FileClock()
        clock.now = datetime.now(UTC)
        shop = Shop(replace(self.house, clock=clock), clock, Registry(self.folder), world)
        self.house.ledger.add_model("flip")
        train_first(shop.house, shop.registry, POLICY_VALUE, world.slice(0, 1000), datetime(2026, 1, 1, tzinfo=UTC))
        shop.serve(1000, 3000)
        return shop

    def _write_answers(self) -> None:
        """What the trainer will answer, whatever the retraining: all are of the same rows."""
        house = self.house
        policy = house.policies.policy("flip")
        decision = replace(self._shop.decision(change_at=1500), at=datetime.now(UTC) - timedelta(days=1))
        opened = open_retraining(house, decision)
        course = Course(house, self._shop.registry, lambda _: _Asking(self.folder / "answers"))
        done = course.step(policy, opened)
        house.ledger.save_retraining(replace(done, state="cancelled"))


class _Asking:
    """A launcher that keeps an answer to what is asked, and never says so."""

    def __init__(self, answers: Path) -> None:
        self._answers = answers

    def launch(self, order):
        answer(order.folder)
        shutil.copytree(order.folder / "answer", self._answers)

    def look(self, _):
        from service.launching.port import Progress

        return Progress("running")

    def cancel(self, _): ...
