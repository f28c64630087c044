"""Registering: MLflow is brought in step with the ledger, model by model, apart from everything that releases."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from service.errors import ServiceError, StoreError
from service.house import House
from service.registries.mlflow import Mlflow
from service.registries.rest import Rest
from service.registries.wanted import wanted
from service.storage import keys
from service.storage.store import Store
from service.training.registry import Registry

_log = logging.getLogger(__name__)
AGAIN = timedelta(hours=1)
"""What is in step is looked at again after so long: somebody may have moved an alias by hand."""


@dataclass(frozen=True)
class Standing:
    """How MLflow stands to the ledger for a model: our versions with its numbers, or what kept it from knowing them."""

    at: datetime
    in_step: bool
    seen: str = ""
    problem: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def standing_of(store: Store, model: str) -> Standing | None:
    """As it was left by the last look; None before the first."""
    found = store.do("GET", _key(model))
    return msgspec.json.decode(found, type=Standing) if found else None


class Registering:
    """Asks MLflow; the leader's alone. `goes_on` says whether there is time for another question."""

    def __init__(self, house: House, *, goes_on: Callable[[], bool] = lambda: True) -> None:
        self._house = house
        self._goes_on = goes_on
        rest = Rest(house.settings.mlflow, house.settings.mlflow_token)
        self._mlflow = Mlflow(rest, Registry(house.settings.data_dir, house.files), goes_on)

    def step(self) -> int:
        """Look at every model where something is new or the last look is old; gives how many are not in step now.

        Raises:
            StoreAway: the store does not answer.
        """
        house, behind = self._house, 0
        for model in house.ledger.models():
            if not self._goes_on():
                break
            behind += not self._look(model).in_step
        return behind

    def _look(self, model: str) -> Standing:
        house, before = self._house, standing_of(self._house.store, model)
        asked = wanted(house, model)
        now = house.clock()
        if not asked.versions:
            return Standing(now, in_step=True)
        if before is not None and before.in_step and before.seen == asked.seen and now < before.at + AGAIN:
            return before
        try:
            versions = self._mlflow.reconcile(asked)
            stopped = "" if all(each.name in versions for each in asked.versions) else "this process was stopped"
            after = Standing(now, not stopped, asked.seen, stopped, versions)
        except StoreError:
            raise
        except ServiceError as error:
            after = Standing(now, False, asked.seen, str(error), before.versions if before else {})
        if after.problem and (before is None or before.problem != after.problem):
            _log.warning("%s is not registered as it is released: %s", model, after.problem)
        house.store.do("SET", _key(model), msgspec.json.encode(after))
        return after


def _key(model: str) -> str:
    return keys.key(f"m:{model}", "mlflow")
