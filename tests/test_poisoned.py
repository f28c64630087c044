"""Trainers that do wrong, through a whole retraining; all of them are in benchmarks/poisoned.py."""

from collections.abc import Iterator

import pytest
from poisons import CHANGE, GOOD, POISONS, Poison, retrain
from test_replay import rows
from test_retrain import Shop, open_shop

SHOWN = (
    "crashes midway",
    "lying metrics",
    "rows twice",
    "a child that outlives it",
    "tampers with what it is judged by",
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("poisoned"), rows(3000, flips_at=CHANGE)) as shop:
        shop.serve(1000, 3000)
        yield shop


@pytest.mark.parametrize("name", SHOWN)
def test_a_poisoned_trainer_ends_as_it_has_to_and_nothing_is_released(shop: Shop, name: str) -> None:
    poison = POISONS[name]
    done = retrain(shop, list(POISONS).index(name), poison)
    assert done.state == poison.state
    assert poison.reason in done.note
    assert shop.house.ledger.champion("flip") == "1"
    assert set(shop.house.ledger.baselines("flip")) == {"1"}


def test_after_all_of_them_a_good_trainer_is_released(shop: Shop) -> None:
    done = retrain(shop, len(POISONS), Poison(GOOD, "released", ""))
    assert (done.state, shop.house.ledger.champion("flip")) == ("released", done.version)
    assert done.uri == "file:///models/flip"
    assert [(c["step"], c["metrics"]["all"]["accuracy"]) for c in done.checkpoints] == [(1, 0.95)]
