"""The names of a model's features for requests that send them as a list: in the order of its baseline.

The order is kept when it is first used. A baseline that is built later, from rows of the archive, may have the same
features in another order, and the model behind the server does not know that.
"""

import msgspec

from service.ledger.ledger import Ledger
from service.storage import keys
from service.storage.store import Store


def feature_names(store: Store, ledger: Ledger, model: str) -> tuple[str, ...]:
    """The bare names, empty where the champion has no baseline."""
    version = ledger.champion(model)
    baseline = ledger.baseline(model, version) if version else None
    if baseline is None:
        return ()
    sources = dict.fromkeys(column.source for column in baseline.layout.columns)
    # What is derived from all features together has a source without a name.
    found = tuple(name for source in sources if source.startswith("feature_") and (name := source[len("feature_") :]))
    kept = store.do("HGET", _key(model), len(found))
    if kept is not None:
        order = msgspec.json.decode(kept, type=tuple[str, ...])
        if set(order) == set(found):
            return order
    store.do("HSET", _key(model), len(found), msgspec.json.encode(found))
    return found


def _key(model: str) -> str:
    return keys.key(f"m:{model}", "feature-order")
