"""The course of a retraining: nothing waits, nothing is done twice, and whoever goes on comes to the same end."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from test_replay import rows
from test_retrain import POLICY_VALUE, Shop, open_shop

from service.house import House
from service.launching.choose import by_kind
from service.launching.here import Here
from service.launching.port import LaunchFailed, Order, Progress
from service.ledger.ledger import Ledger, RetrainingMoved
from service.ledger.records import FINISHED, Release, Retraining
from service.orders.cancelling import ask_to_cancel
from service.retraining.course import Course
from service.retraining.following import MOST_LAUNCHES
from service.retraining.opening import open_retraining
from service.retraining.standing import Standing
from service.storage.files import Files
from service.training.registry import Registry


@dataclass
class Office:
    """A trainer outside, which answers when it is told to. It knows the world's rule: x1 below 0 is a yes."""

    state: str = "running"
    is_stopped: bool = False
    is_away: bool = False
    starts: list[str] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)

    def launch(self, order: Order) -> None:
        if self.is_away:
            raise LaunchFailed("the office is closed")
        if (order.name not in self.starts or self.state == "lost") and order.name not in self.cancelled:
            self.starts.append(order.name)

    def look(self, order: Order) -> Progress:
        if self.is_away:
            raise LaunchFailed("nobody answers")
        if order.name not in self.starts:
            return Progress("lost", "it was never here")
        if self.state == "succeeded":
            answer(order.folder)
        return Progress(self.state, f"it is {self.state}", is_stopped=self.is_stopped)

    def cancel(self, order: Order) -> None:
        self.cancelled.add(order.name)


def answer(folder: Path) -> None:
    asked = [parquet.read_table(folder / f"{name}.parquet") for name in ("unseen", "validation")]
    columns = ["prediction_id", "feature_x1"]
    everything = pa.concat_tables([table.select(columns) for table in asked]).to_pydict()
    said = {i: "yes" if x is not None and x <= 0 else "no" for i, x in zip(*everything.values(), strict=True)}
    (folder / "answer").mkdir(exist_ok=True)
    table = pa.table({"prediction_id": list(said), "prediction": list(said.values())})
    parquet.write_table(table, folder / "answer" / "predictions.parquet")
    (folder / "answer" / "answer.json").write_text(json.dumps({"uri": "s3://models/7", "metrics": {"accuracy": 1.0}}))


class Crash(BaseException):
    """The process is gone."""


class Mortal(Ledger):
    """A ledger whose process dies at each save of a retraining, once before it is written and once after."""

    def __init__(self, store) -> None:
        super().__init__(store)
        self.deaths: set[tuple[int, str]] = set()

    def save_retraining(self, retraining, counted=()):
        self._die_once(retraining.revision, "before")
        after = super().save_retraining(retraining, counted)
        self._die_once(retraining.revision, "after")
        return after

    def _die_once(self, revision: int, when: str) -> None:
        if (revision, when) not in self.deaths:
            self.deaths.add((revision, when))
            raise Crash


class Paused(Ledger):
    """A ledger whose process stands still before one save of a retraining, while `meanwhile` happens."""

    def __init__(self, store, at: int, meanwhile) -> None:
        super().__init__(store)
        self.at, self.meanwhile = at, meanwhile

    def save_retraining(self, retraining, counted=()):
        if retraining.revision == self.at:
            self.at = -1
            self.meanwhile()
        return super().save_retraining(retraining, counted)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[Shop]:
    """A shop whose labels turned at row 1500, and whose champion is always of before."""
    with open_shop(tmp_path_factory.mktemp("shop"), rows(3000, flips_at=1500)) as opened:
        opened.serve(1000, 3000)
        yield opened


@pytest.fixture
def opened(shop) -> Iterator[Retraining]:
    """A retraining that was decided on; afterwards it is over, and version 1 is the champion again."""
    shop.clock.now += timedelta(minutes=1)
    opened = open_retraining(shop.house, shop.decision(change_at=1500))
    yield opened
    ledger = shop.house.ledger
    left = ledger.retraining("flip", opened.id)
    ledger.save_retraining(replace(left, state="cancelled"))
    shop.clock.now += timedelta(minutes=1)
    if ledger.champion("flip") != "1":
        ledger.move_champion(Release("flip", "1", ledger.champion("flip"), shop.clock(), "rollback", "the next test"))


def step(shop: Shop, office, opened: Retraining, *, house: House | None = None, policy=POLICY_VALUE) -> Retraining:
    """What a leader does that has just begun to lead, with nothing in memory."""
    house = house or shop.house
    course = Course(house, Registry(house.settings.data_dir, house.files), by_kind({"builtin": office}))
    return course.step(policy, house.ledger.retraining("flip", opened.id))


def test_a_step_waits_for_nothing_and_whoever_comes_next_goes_on(shop, opened):
    office = Office()
    for _ in range(3):
        assert step(shop, office, opened).state == "training"
    office.state = "succeeded"
    done = step(shop, office, opened)
    assert (done.state, shop.house.ledger.champion("flip"), office.starts) == ("released", done.version, [opened.id])
    assert (done.uri, done.claims) == ("s3://models/7", {"accuracy": 1.0})
    assert shop.house.ledger.releases("flip")[-1].uri == "s3://models/7"
    rows_described = int(shop.house.ledger.baseline("flip", done.version).rows[0])
    assert rows_described == sum(done.manifest["parts"][part]["rows"] for part in ("validation", "holdout"))


@pytest.mark.parametrize("trainer", [Office(state="succeeded"), Here()], ids=["outside", "taught again"])
def test_a_crash_before_or_after_any_save_changes_neither_the_end_nor_how_often_anything_is_done(
    shop, opened, trainer, monkeypatch
):
    trained = []
    mortal = replace(shop.house, ledger=Mortal(shop.house.store))
    counts, run = shop.house.ledger.counts("flip"), Here.launch
    monkeypatch.setattr(Here, "launch", lambda self, order: (trained.append(self.look(order).state), run(self, order)))
    before, lives = len(shop.house.ledger.releases("flip")), 0
    while not shop.house.ledger.retraining("flip", opened.id).is_finished:
        lives += 1
        assert lives < 100, shop.house.ledger.retraining("flip", opened.id)
        try:
            step(shop, trainer, opened, house=mortal)
        except Crash:
            continue
    done = shop.house.ledger.retraining("flip", opened.id)
    assert (done.state, done.order.launches) == ("released", 1)
    assert lives == len(mortal.ledger.deaths) - (len(mortal.ledger.deaths) == lives + 1) >= 8
    releases = shop.house.ledger.releases("flip")
    assert (len(releases), releases[-1].digest) == (before + 1, done.digest)
    after = shop.house.ledger.counts("flip")
    for counted in ("verdicts:pass", "retrainings:released"):
        assert after[counted] == counts.get(counted, 0) + 1
    if isinstance(trainer, Office):
        assert trainer.starts == [opened.id]
    else:
        assert trained.count("lost") == 2  # the training, and what passed taught again


@pytest.mark.parametrize("at", range(5))
def test_a_leader_that_wakes_up_late_changes_nothing(shop, opened, at):
    office, ends = Office(state="succeeded"), []

    def meanwhile():
        assert step(shop, office, opened).state == "released"
        # What the successor released is rolled back by the time the old leader wakes up.
        done, ledger = shop.house.ledger.retraining("flip", opened.id), shop.house.ledger
        ledger.move_champion(Release("flip", "1", done.version, shop.clock(), "rollback", "worse"))
        ends.append((done, ledger.counts("flip"), ledger.releases("flip"), files_of(shop, opened)))

    paused = replace(shop.house, ledger=Paused(shop.house.store, at, meanwhile))
    with suppress(RetrainingMoved):
        step(shop, office, opened, house=paused)
    (done, *others), ledger = ends[0], shop.house.ledger
    assert done.state == "released"
    assert ledger.retraining("flip", opened.id) == done
    assert [ledger.counts("flip"), ledger.releases("flip"), files_of(shop, opened)] == others
    assert office.starts == [opened.id]


def files_of(shop: Shop, retraining: Retraining) -> dict[str, bytes]:
    """What the record names, and nothing of what others may have prepared."""
    known = shop.house.ledger.retraining("flip", retraining.id)
    place = shop.house.settings.data_dir / "retrainings" / known.id / known.files
    return {str(file): file.read_bytes() for file in sorted(place.rglob("*")) if file.is_file()}


def test_an_order_that_was_over_before_a_late_leader_started_it_is_ended_again(shop, opened):
    office = Office()

    class Late(Office):
        def launch(self, order):
            ask_to_cancel(shop.house.ledger, "flip", opened.id, "ann", "not now", shop.clock())
            assert step(shop, office, opened).state == "cancelled"
            super().launch(order)

    late = Late()
    with pytest.raises(RetrainingMoved):
        step(shop, late, opened)
    assert late.starts == [opened.id]
    assert late.cancelled == {opened.id}


@pytest.mark.parametrize("state", ["requested", "training", "trying"])
def test_a_person_ends_it_in_every_state_before_the_release(shop, opened, state):
    office = Office()
    gate = replace(POLICY_VALUE.gate, canary=canary()) if state == "trying" else POLICY_VALUE.gate
    policy = replace(POLICY_VALUE, gate=gate)
    if state != "requested":
        step(shop, office, opened, policy=policy)
        office.state = "succeeded" if state == "trying" else "running"
        assert step(shop, office, opened, policy=policy).state == state
    ask_to_cancel(shop.house.ledger, "flip", opened.id, "ann", "not now", shop.clock())
    done = step(shop, office, opened, policy=policy)
    assert (done.state, done.note) == ("cancelled", "cancelled by ann: not now")
    assert office.cancelled == (set() if state == "requested" else {opened.id})
    assert shop.house.ledger.champion("flip") == "1"
    for end in FINISHED:
        assert shop.house.ledger.save_retraining(replace(done, state=end)).state == "cancelled"


def canary():
    from policies.file.policy import Canary

    return Canary(share=0.1, duration=timedelta(hours=6))


def test_no_answer_in_time_is_a_failure_that_ends_the_training(shop, opened):
    office, began = Office(), shop.clock.now
    assert step(shop, office, opened).state == "training"
    shop.clock.now += POLICY_VALUE.retrain.trainer.timeout
    done = step(shop, office, opened)
    shop.clock.now = began
    assert (done.state, office.cancelled) == ("failed", {opened.id})
    assert "no answer within 1:00:00" in done.note


def test_what_is_lost_is_started_twice_more_and_what_was_stopped_as_often_as_it_takes(shop, opened):
    office = Office(state="lost", is_stopped=True)
    for _ in range(2 * MOST_LAUNCHES):
        assert step(shop, office, opened).state == "training"
    office.is_stopped = False
    started = len(office.starts)
    for _ in range(MOST_LAUNCHES):
        done = step(shop, office, opened)
    assert (done.state, len(office.starts) - started) == ("failed", MOST_LAUNCHES - 1)
    assert "lost 3 times; the last time: it is lost" in done.note


def test_a_trainer_that_cannot_be_reached_is_tried_again_and_the_note_says_so(shop, opened):
    office = Office(is_away=True)
    waiting = step(shop, office, opened)
    assert (waiting.state, waiting.note) == ("training", "waiting: the office is closed")
    office.is_away = False
    assert step(shop, office, opened).note == "waiting: it is running"
    office.is_away = True
    assert step(shop, office, opened).note == "waiting: nobody answers"
    office.is_away, office.state = False, "succeeded"
    assert step(shop, office, opened).state == "released"
    assert office.starts == [opened.id]


def test_an_order_stays_with_the_trainer_it_was_placed_with(shop, opened):
    from policies.file.policy import WebhookTrainer

    office = Office()
    step(shop, office, opened)
    elsewhere = replace(POLICY_VALUE.retrain, trainer=WebhookTrainer("https://t.example", "SECRET"))
    office.state = "succeeded"
    assert step(shop, office, opened, policy=replace(POLICY_VALUE, retrain=elsewhere)).state == "released"


def test_no_trainer_sees_the_answers_it_is_judged_by(shop, opened):
    known = step(shop, Office(), opened)
    place = shop.house.settings.data_dir / "retrainings" / known.id / known.files
    holdout = set(parquet.read_table(place / "rows" / "holdout.parquet").column("prediction_id").to_pylist())
    assert len(holdout) == known.manifest["parts"]["holdout"]["rows"]
    for file in (place / "training").glob("*.parquet"):
        table = parquet.read_table(file)
        if "label" in table.column_names:
            assert not holdout & set(table.column("prediction_id").to_pylist())
        else:
            assert file.name == "unseen.parquet"
            assert holdout <= set(table.column("prediction_id").to_pylist())
            known_columns = {"prediction_id", "timestamp", "feature_x1", "feature_x2", "tag_group"}
            assert set(table.column_names) == known_columns


def test_labels_that_come_later_change_nothing_that_was_put_aside(shop, opened):
    office = Office()
    first = step(shop, office, opened)
    shop.clock.now += timedelta(minutes=1)
    assert step(shop, office, opened).manifest == first.manifest
    assert files_of(shop, opened)


class LastsUntil(Ledger):
    """A ledger whose machine burns down when a retraining has reached a state."""

    def __init__(self, store, state: str) -> None:
        super().__init__(store)
        self.state = state

    def save_retraining(self, retraining, counted=()):
        after = super().save_retraining(retraining, counted)
        if after.state == self.state:
            raise Crash
        return after


@pytest.mark.parametrize("state", ["training", "judging", "teaching"])
def test_a_leader_on_another_machine_has_all_it_needs(shop, opened, tmp_path, state):
    shared = Files(f"memory://{tmp_path.name}")
    trainer = Here() if state == "teaching" else Office(state="succeeded")
    house = replace(shop.house, files=shared)
    there = replace(house, settings=replace(house.settings, data_dir=tmp_path / "there"))
    for dies_at in dict.fromkeys(["training", state]):
        # The other machine has led in between, and has the files as they were then.
        with pytest.raises(Crash):
            step(shop, trainer, opened, house=replace(house, ledger=LastsUntil(house.store, dies_at)))
        Standing(there, shop.house.ledger.retraining("flip", opened.id)).folder.read("holdout")
    assert shared.names(f"retrainings/{opened.id}")
    done = step(shop, trainer, opened, house=there)
    assert done.state == "released"
    if isinstance(trainer, Office):
        assert trainer.starts == [opened.id]
    left = f"retrainings/{opened.id}/{done.files}"
    assert not [name for leaf in shared.names(left) for name in shared.names(f"{left}/{leaf}")]


def test_files_that_only_another_machine_has_are_said_to_be_there(shop, opened, tmp_path):
    office = Office()
    step(shop, office, opened)
    there = replace(shop.house, settings=replace(shop.house.settings, data_dir=tmp_path))
    done = step(shop, office, opened, house=there)
    assert done.state == "failed"
    assert "the machine that began it had them" in done.note


def test_an_answer_that_cannot_be_used_never_reaches_the_release(shop, opened):
    office = Office(state="succeeded")

    class Half(Office):
        def look(self, order):
            seen = super().look(order)
            file = order.folder / "answer" / "predictions.parquet"
            parquet.write_table(parquet.read_table(file).slice(1), file)
            return seen

    done = step(shop, Half(state="succeeded"), opened)
    assert (done.state, shop.house.ledger.champion("flip")) == ("failed", "1")
    assert "have no prediction" in done.note
    assert not office.starts


def test_of_two_that_read_the_same_one_saves_and_the_other_hears_of_it(shop, opened):
    ledger = shop.house.ledger
    first = ledger.save_retraining(replace(opened, note="first"), ("seen",))
    with pytest.raises(RetrainingMoved, match=opened.id):
        ledger.save_retraining(replace(opened, note="second"), ("seen",))
    assert ledger.retraining("flip", opened.id) == first
    assert ledger.counts("flip")["seen"] == 1
