"""Retraining, gate, release and watch on a real house: what a bad trainer, a crash and a bad release lead to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet
from test_replay import POLICY, rows

from policies.file.parse import parse
from service.deciding.loop import Loop
from service.house import House, joiner_of, open_house, worker_of
from service.intake.archive.tables import Roles, as_batch
from service.intake.bodies.wire import Batch
from service.intake.log.ingest import hash_body
from service.launching.choose import by_kind
from service.launching.here import Here
from service.launching.port import Launcher, Order
from service.ledger.records import DecisionRecord, Release, Watch
from service.replay import FileClock
from service.retraining.opening import open_retraining
from service.retraining.watching import watch_release
from service.settings import Durability, Settings
from service.training.comparing import with_predictions
from service.training.curate import digest_ids
from service.training.first_model import train_first
from service.training.references import baseline_of, keep_baseline
from service.training.registry import Registry
from service.training.train_files import write_error
from service.training.trainers import refit
from service.training.training_errors import LossNotFinite

POLICY_VALUE = parse(POLICY)


@dataclass(frozen=True)
class Shop:
    """A house with a champion, and the rows of its world."""

    house: House
    clock: FileClock
    registry: Registry
    world: pa.Table

    def serve(self, begin: int, end: int) -> None:
        """Predict with the champion, post, label, fold and join."""
        part, version = self.world.slice(begin, end - begin), self.house.ledger.champion("flip")
        served = with_predictions(part, self.registry.load("flip", version).predict(part), version)
        self.clock.now = pc.max(part.column("timestamp")).as_py() + timedelta(hours=2)
        labels = pa.table(
            {
                "prediction_id": part.column("prediction_id"),
                "label": part.column("label"),
                "timestamp": part.column("timestamp"),
                "outcome": pa.nulls(part.num_rows, pa.string()),
            }
        )
        ingest, now = self.house.ingest, self.clock()
        ingest.accept_predictions("flip", Batch(served.drop_columns(["label"])), None, hash_body(b"p%d" % begin), now)
        ingest.accept_labels("flip", Batch(labels), None, hash_body(b"l%d" % begin), now)
        worker, joiner = worker_of(self.house), joiner_of(self.house)
        worker.acquire()
        worker.step()
        joiner.step(self.clock())
        joiner.release()
        worker.release()

    def decision(self, change_at: int) -> DecisionRecord:
        """A decision to retrain for a change at this row."""
        return DecisionRecord(
            id="d-1",
            model="flip",
            version=self.house.ledger.champion("flip"),
            at=self.clock(),
            action="retrain",
            reasons=[{"code": "performance_drop", "met": True, "segment": "all", "text": "worse"}],
            states={"all": "drifting"},
            triggers=("all",),
            change_started=self.world.column("timestamp")[change_at].as_py(),
            policy="p",
            baseline="b",
        )

    def loop(self, launcher: Launcher | None = None, kind: str = "builtin") -> Loop:
        return Loop(self.house, self.registry, by_kind({kind: launcher or Here()}), makes_reports=False)


@contextmanager
def open_shop(folder: Path, world: pa.Table, start: int = 1000) -> Iterator[Shop]:
    clock = FileClock()
    (folder / "policies.d").mkdir()
    (folder / "policies.d" / "policy.yaml").write_text(POLICY)
    settings = replace(
        Settings(), data_dir=folder, policies=folder / "policies.d", partitions=1, durability=Durability("everysec")
    )
    batch = as_batch(Path("made"), world, Roles(kinds=POLICY_VALUE.column_kinds()), "classification", "")
    with open_house(settings, clock) as house:
        house.ledger.add_model("flip")
        shop = Shop(house, clock, Registry(folder), batch)
        train_first(house, shop.registry, POLICY_VALUE, batch.slice(0, start), datetime(2026, 1, 1, tzinfo=UTC))
        yield shop


class UpsideDown(Here):
    """A trainer that learns every label the wrong way round."""

    def launch(self, order: Order) -> None:
        for file in [*order.folder.glob("train-*.parquet"), order.folder / "validation.parquet"]:
            table = parquet.read_table(file)
            wrong = pc.if_else(pc.equal(table.column("label"), "yes"), "no", "yes")
            parquet.write_table(table.set_column(table.column_names.index("label"), "label", wrong), file)
        super().launch(order)


def test_a_worse_challenger_is_refused_and_the_segment_is_named(tmp_path):
    with open_shop(tmp_path, rows(3000)) as shop:
        shop.serve(1000, 3000)
        opened = open_retraining(shop.house, shop.decision(change_at=1000))
        assert opened is not None
        done = shop.loop(UpsideDown()).finish("flip")
        assert done.state == "refused"
        worse = [s["name"] for s in done.verdict["segments"] if s["answer"] == "worse"]
        assert {"all", "group=a", "group=b"} <= set(worse)
        assert "group=a" in done.note
        assert shop.house.ledger.champion("flip") == "1"
        assert shop.house.ledger.baselines("flip").keys() == {"1"}


def test_a_better_challenger_is_released_with_its_own_baseline(tmp_path):
    with open_shop(tmp_path, rows(3000, flips_at=1500)) as shop:
        shop.serve(1000, 3000)
        open_retraining(shop.house, shop.decision(change_at=1500))
        done = shop.loop().finish("flip")
        assert (done.state, shop.house.ledger.champion("flip")) == ("released", "2")
        assert shop.house.ledger.baseline("flip", "2").rows[0] == 1500
        assert shop.house.ledger.baseline("flip", "2").unread == ("confidence",)
        assert shop.house.ledger.watch("flip").previous == "1"
        assert [r.kind for r in shop.house.ledger.releases("flip")] == ["first", "release"]


def test_a_release_that_learnt_from_few_rows_has_a_baseline_that_can_be_read_against(tmp_path):
    with open_shop(tmp_path, rows(3000, flips_at=2650)) as shop:
        shop.serve(1000, 3000)
        open_retraining(shop.house, shop.decision(change_at=2650))
        done = shop.loop().finish("flip")
        assert (done.state, done.labelled_rows) == ("released", 350)
        assert shop.house.ledger.baseline("flip", "2").rows[0] == 500


def test_a_decision_opens_one_retraining_however_often_it_is_replayed(tmp_path):
    with open_shop(tmp_path, rows(3000, flips_at=1500)) as shop:
        shop.serve(1000, 3000)
        decision = shop.decision(change_at=1500)
        assert open_retraining(shop.house, decision) is not None
        assert open_retraining(shop.house, decision) is None
        first = shop.loop().finish("flip")
        assert shop.loop().finish("flip") is None
        shop.house.ledger.save_retraining(replace(first, state="failed"))
        assert shop.house.ledger.retraining("flip", first.id).state == "released"


def test_a_trainer_that_fails_ends_the_retraining_with_its_reason(tmp_path):
    with open_shop(tmp_path, rows(3000, flips_at=1500)) as shop:
        shop.serve(1000, 3000)
        open_retraining(shop.house, shop.decision(change_at=1500))

        class Broken(Here):
            def launch(self, order):
                write_error(order.folder, LossNotFinite(3, float("nan")))

        done = shop.loop(Broken()).finish("flip")
        assert done.state == "failed"
        assert "nan" in done.note
        assert shop.house.ledger.champion("flip") == "1"


def test_a_release_that_turns_out_worse_is_rolled_back(tmp_path):
    with open_shop(tmp_path, rows(3000)) as shop:
        index = shop.world.column_names.index("label")
        turned = pc.if_else(pc.equal(shop.world.column("label"), "yes"), "no", "yes")
        wrong = shop.world.set_column(index, "label", turned).slice(0, 1000)
        bad = refit(wrong, task="classification", columns=POLICY_VALUE.column_kinds(), step=2)
        shop.registry.save(bad, name="flip", version="2", created=shop.clock(), rows_digest="x")
        served = with_predictions(wrong, bad.predict(wrong), "2")
        keep_baseline(shop.house.ledger, tmp_path, baseline_of(POLICY_VALUE, "2", served), served)
        shop.house.ledger.move_champion(Release("flip", "2", "1", shop.clock(), "release", "test"))
        watch = Watch("2", "1", datetime(2027, 1, 1, tzinfo=UTC))
        shop.house.ledger.save_watch("flip", watch)
        shop.serve(1000, 1050)
        assert watch_release(shop.house, shop.registry, POLICY_VALUE) is None  # too few labels for a look
        shop.serve(1050, 1400)
        back = watch_release(shop.house, shop.registry, POLICY_VALUE)
        assert (back.kind, back.version, shop.house.ledger.champion("flip")) == ("rollback", "1", "1")
        assert "group=a" in back.reason
        counts = shop.house.ledger.counts("flip")
        assert (counts["rollbacks"], counts["post_release_regressions"]) == (1, 1)


def test_a_release_that_stands_is_watched_to_the_end(tmp_path):
    with open_shop(tmp_path, rows(3000, flips_at=1500)) as shop:
        shop.serve(1000, 2600)
        open_retraining(shop.house, shop.decision(change_at=1500))
        shop.loop().finish("flip")
        shop.serve(2600, 3000)
        assert watch_release(shop.house, shop.registry, POLICY_VALUE) is None
        looked = shop.house.ledger.watch("flip")
        assert looked.judged == 400
        assert looked.verdict["segments"][0]["answer"] == "better_or_equal"
        shop.clock.now = looked.until
        watch_release(shop.house, shop.registry, POLICY_VALUE)
        assert shop.house.ledger.watch("flip") is None


def test_an_hour_without_news_is_looked_at_and_counts_as_no_time_in_a_row(tmp_path):
    with open_shop(tmp_path, rows(3000)) as shop:
        shop.serve(1000, 2000)
        loop = shop.loop()
        loop.decide("flip")
        first = shop.house.ledger.evaluation("flip")
        loop.decide("flip")
        assert shop.house.ledger.evaluation("flip").at == first.at  # nothing new and no hour over
        shop.clock.now += timedelta(hours=30)
        loop.decide("flip")
        later = shop.house.ledger.evaluation("flip")
        assert later.at > first.at
        assert dict(later.runs) == dict(first.runs)
        shop.clock.now += timedelta(hours=30)
        loop.decide("flip")
        assert shop.house.ledger.evaluation("flip").segments[0]["state"] == "fault"  # traffic stopped


def test_a_trainer_that_cannot_be_launched_fails_and_trains_nothing(tmp_path):
    with open_shop(tmp_path, rows(3000)) as shop:
        shop.serve(1000, 2000)
        text = POLICY + "retrain: {trainer: {kind: command, command: [train]}}\n"
        (tmp_path / "policies.d" / "policy.yaml").write_text(text)
        shop.house.policies.reload()
        open_retraining(shop.house, shop.decision(change_at=1000))
        done = shop.loop().finish("flip")
        assert (done.state, done.version) == ("failed", "")
        assert "builtin" in done.note


def test_what_is_released_has_learnt_from_the_rows_that_judged_it_too(tmp_path):
    with open_shop(tmp_path, rows(3000, flips_at=1500)) as shop:
        shop.serve(1000, 3000)
        open_retraining(shop.house, shop.decision(change_at=1500))
        done = shop.loop().finish("flip")
        judged = done.manifest["parts"]["holdout"]["rows"]
        assert (done.state, done.labelled_rows, judged) == ("released", 1500, 450)
        assert done.verdict["segments"][0]["n"] == judged
        learnt = shop.registry.manifest("flip", "2").rows_digest
        assert learnt == digest_ids(shop.world.slice(1500))


def test_cases_that_must_pass_refuse_a_challenger_that_fails_them(tmp_path):
    with open_shop(tmp_path, rows(3000, flips_at=1500)) as shop:
        shop.serve(1000, 3000)
        (tmp_path / "policies.d" / "policy.yaml").write_text(POLICY + "gate: {must_pass: cases.ndjson}\n")
        shop.house.policies.reload()
        cases = tmp_path / "policies.d" / "cases.ndjson"
        cases.write_text('{"features": {"x1": 3.0, "x2": 0.0}, "prediction": "yes"}')
        open_retraining(shop.house, shop.decision(change_at=1500))
        done = shop.loop().finish("flip")
        assert done.state == "refused"
        assert "1 of the cases" in done.note
