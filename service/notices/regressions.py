"""The last release of a model that was found worse than what it replaced, and left to a person."""

import msgspec

from service.ledger.records import Regression
from service.storage import keys
from service.storage.store import Store


def keep_regression(store: Store, regression: Regression) -> None:
    """Remember it, in place of the one before; the same again is no other."""
    store.do("SET", _key(regression.model), msgspec.json.encode(regression))


def regression_of(store: Store, model: str) -> Regression | None:
    """The last one, None where there was none."""
    found = store.do("GET", _key(model))
    return msgspec.json.decode(found, type=Regression) if found else None


def _key(model: str) -> str:
    return keys.key(f"m:{model}", "regression")
