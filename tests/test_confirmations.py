from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest
from houses import NOON, client_of, fold, give_baseline, ingest, open_shop
from streams import predictions

from monitors.baseline.baselines import Baseline
from service.deciding.confirmations import MOST_OPEN, PATIENCE, Confirmations
from service.deciding.cycle import Cycle
from service.house import House
from service.intake.bodies.wire import Batch
from service.ledger.records import DecisionRecord, Evaluation, Release
from service.web.observe import snapshot

MODEL, DAY = "shop", timedelta(days=1)
POLICY = """
model: shop
task: {kind: classification}
window: {slice: 1h, label_delay: 2d}
performance: {max_drop: 0.1}
persist: 1
retrain: {when: [drift], requires: {labelled_rows: 0}}
"""


class Shop:
    """A house with a clock to set, in which inputs drift after two quiet days, and labels come when they come."""

    def __init__(self, house: House) -> None:
        self.now = NOON
        self.house = replace(house, clock=lambda: self.now)
        self.confirmations = Confirmations(self.house)
        self.baseline: Baseline = give_baseline(self.house)
        ingest(self.house, predictions(2_800, seed=1))
        self.evaluate()

    def evaluate(self) -> DecisionRecord | None:
        decision = Cycle(self.house).step(MODEL)
        self.confirmations.step(MODEL)
        return decision

    def drift(self, error: float = 0.1) -> pa.Table:
        """A day of shifted predictions comes; gives its rows, of which no label has come."""
        rows = predictions(1_440, seed=2, shift=2.5, error=error, start=int(NOON.timestamp()))
        self.house.ingest.accept_predictions(MODEL, Batch(rows.drop_columns(["label"])), None, "body", NOON)
        self.now += DAY
        fold(self.house)
        return rows

    def label(self, rows: pa.Table) -> None:
        labels = rows.select(["prediction_id", "label", "timestamp"])
        labels = labels.append_column("outcome", pa.nulls(labels.num_rows, pa.string()))
        self.house.ingest.accept_labels(MODEL, Batch(labels), None, "body", NOON)
        fold(self.house)

    @property
    def ends(self) -> dict[str, int]:
        counted = self.house.ledger.counts(MODEL)
        return {name.partition(":")[2]: n for name, n in counted.items() if name.startswith("triggers:")}


@pytest.fixture
def shop(server, tmp_path):
    with open_shop(server, tmp_path, POLICY) as house:
        yield Shop(house)


def test_a_trigger_whose_labels_show_the_loss_later_is_confirmed(shop):
    rows = shop.drift(error=0.4)
    decision = shop.evaluate()
    assert decision.action == "retrain"
    assert (shop.house.ledger.open_triggers(MODEL), shop.ends) == ([decision.id], {})
    shop.now += DAY
    shop.label(rows)
    (found,) = shop.confirmations.step(MODEL)
    assert (found.end, found.segment, found.decision) == ("confirmed", "all", decision.id)
    assert found.drop == pytest.approx(0.3, abs=0.05)
    assert (shop.house.ledger.open_triggers(MODEL), shop.ends) == ([], {"confirmed": 1})


def test_a_trigger_on_harmless_drift_is_unfounded_when_its_labels_had_their_time(shop):
    rows = shop.drift(error=0.1)
    shop.evaluate()
    shop.label(rows)
    assert shop.confirmations.step(MODEL) == []
    shop.now += 2 * DAY
    (found,) = shop.confirmations.step(MODEL)
    assert (found.end, found.against_ln > 3) == ("unfounded", True)
    (told,) = snapshot(shop.house).models
    assert told.triggers == {"unfounded": 1}


def test_without_labels_a_trigger_stays_open_and_ends_undecided(shop):
    shop.drift()
    decision = shop.evaluate()
    shop.now = decision.at + 2 * DAY + PATIENCE - timedelta(seconds=1)
    assert shop.confirmations.step(MODEL) == []
    shop.now += timedelta(seconds=1)
    (found,) = shop.confirmations.step(MODEL)
    assert (found.end, found.labelled, found.text) == ("undecided", 0, "no label of the span has come yet")
    assert shop.confirmations.step(MODEL) == []


def test_labels_of_the_old_champion_confirm_after_a_release(shop):
    rows = shop.drift(error=0.4)
    decision = shop.evaluate()
    give_baseline(shop.house, "2", predictions(3_000, seed=7, shift=2.5))
    shop.house.ledger.move_champion(Release(MODEL, "2", "1", shop.now, "release", "drift"))
    shop.label(rows)
    (found,) = shop.confirmations.step(MODEL)
    assert (found.end, found.version, found.decision) == ("confirmed", "1", decision.id)


def test_what_labels_made_of_it_is_an_entry_of_its_own_and_shown(shop):
    rows = shop.drift(error=0.4)
    decision = shop.evaluate()
    before = shop.house.ledger.chain(MODEL).page(0)
    shop.label(rows)
    shop.confirmations.step(MODEL)
    after = shop.house.ledger.chain(MODEL).page(0)
    assert after[:-1] == before
    assert b'"kind":"confirmation"' in after[-1]
    with client_of(shop.house) as client:
        told = client.get(f"/v1/decisions/{decision.id}").json()["confirmation"]
        assert (told["end"], told["segment"]) == ("confirmed", "all")
        page = client.get("/").text
        assert "<strong>confirmed</strong>" in page
        assert "labels of the span say a drop" in page
        text = client.get("/metrics").text
        assert 'tidegate_triggers_total{end="confirmed",model="shop"} 1.0' in text
        assert 'tidegate_trigger_precision_ratio{model="shop"} 1.0' in text


def test_before_the_first_there_is_no_precision(shop):
    with client_of(shop.house) as client:
        text = client.get("/metrics").text
        assert 'tidegate_triggers_total{end="confirmed",model="shop"} 0.0' in text
        assert "tidegate_trigger_precision_ratio{" not in text


# ---- which decisions wait for their labels


def test_of_decisions_that_ask_in_a_row_the_first_waits_until_one_retrains(server, tmp_path):
    freeze = f'retrain: {{freeze: ["{NOON:%Y-%m-%d}/{NOON + 2 * DAY:%Y-%m-%d}"], '
    with open_shop(server, tmp_path, POLICY.replace("retrain: {", freeze)) as house:
        shop = Shop(house)
        shop.drift()
        first = shop.evaluate()
        assert (first.action, shop.house.ledger.open_triggers(MODEL)) == ("watch", [first.id])
        for hours in (6, 12):
            start = int(shop.now.timestamp())
            ingest(shop.house, predictions(hours * 60, seed=hours, shift=2.5, start=start))
            shop.now += timedelta(hours=hours)
            decision = shop.evaluate()
        assert decision.action == "retrain"
        assert shop.house.ledger.open_triggers(MODEL) == [decision.id]


def test_a_quiet_decision_waits_for_nothing(shop):
    assert [each.action for each in shop.house.ledger.decisions(MODEL)] == ["hold"]
    assert shop.house.ledger.open_triggers(MODEL) == []


def test_one_that_was_noted_and_never_kept_is_forgotten(shop):
    shop.house.store.do("SADD", "tg:{m:shop}:triggers", "d-never")
    assert shop.confirmations.step(MODEL) == []
    assert shop.house.ledger.open_triggers(MODEL) == []


def test_it_is_judged_by_the_policy_that_decided_where_this_build_can_read_it(shop):
    rows = shop.drift(error=0.4)
    decision = shop.evaluate()
    lenient = shop.house.policies.folder / "shop.yaml"
    lenient.write_text(POLICY.replace("max_drop: 0.1", "max_drop: 0.9"))
    shop.house.policies.reload()
    shop.label(rows)
    shop.house.store.do("HSET", "tg:{m:shop}:policies", decision.policy, "{model: shop, of: another build}")
    assert Confirmations(shop.house).step(MODEL) == []
    (found,) = shop.confirmations.step(MODEL)
    assert (found.end, found.limit) == ("confirmed", 0.1)


def test_where_too_many_wait_the_oldest_ends_undecided(shop):
    shop.drift()
    asked = shop.evaluate()
    for number in range(MOST_OPEN):
        more = replace(asked, id=f"{asked.id}-{number:03}")
        shop.house.ledger.open_trigger(more)
        shop.house.ledger.record(Evaluation(MODEL), more, [])
    (found,) = shop.confirmations.step(MODEL)
    assert (found.decision, found.end) == (asked.id, "undecided")
    assert len(shop.house.ledger.open_triggers(MODEL)) == MOST_OPEN


def test_a_baseline_that_was_replaced_leaves_it_undecided(shop):
    shop.drift()
    shop.evaluate()
    give_baseline(shop.house, "1", predictions(3_000, seed=8))
    (found,) = shop.confirmations.step(MODEL)
    assert (found.end, found.limit) == ("undecided", None)
