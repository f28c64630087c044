"""An order of a trainer outside on the tests' store, without a training: what is said, sent and asked of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyarrow as pa
from houses import NOON, POLICY, client_of, open_shop
from pyarrow import parquet

from policies.file.trainers import Trainer, WebhookTrainer
from service.house import House
from service.launching.outside import share, token_of
from service.launching.port import Order
from service.ledger.records import Placed, Retraining
from service.signatures import sign
from service.storage.embedded import Embedded

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="  # noqa: S105  of these tests
TRAINER = WebhookTrainer("http://127.0.0.1:9/train", "TRAINER_SECRET")
UNSEEN, VALIDATION = ("u-1", "u-2", "007"), ("v-1", "u-2")


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Outsider:
    """The trainer of an order, as it speaks to the service over HTTP."""

    house: House
    clock: Clock
    client: httpx.Client
    order: Order
    path: str = field(init=False)

    def __post_init__(self) -> None:
        self.path = f"/v1/retrainings/{self.order.retraining}"

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {token_of(self.house.store, self.order.name)}"}

    def say(self, body: object, identity: str = "", **headers: str) -> httpx.Response:
        """Post an event with the token."""
        named = {"webhook-id": identity} if identity else {}
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return self.client.post(f"{self.path}/events", content=content, headers={**self.bearer, **named, **headers})

    def sign(self, body: bytes, identity: str = "e-1", secret: str = SECRET, late: float = 0.0) -> dict[str, str]:
        """The headers of a signed event, sent so many seconds ago."""
        at = str(int(self.clock().timestamp() - late))
        return {"webhook-id": identity, "webhook-timestamp": at, "webhook-signature": sign(secret, identity, at, body)}

    def send(self, body: bytes, form: str = "text/csv", part: str = "answer", **headers: str) -> httpx.Response:
        """Send predictions or a model."""
        named = {"Content-Type": form, **self.bearer, **headers}
        return self.client.put(f"{self.path}/{part}", content=body, headers=named)

    def answer(self, word: str = "fit") -> bytes:
        """Predictions for all rows, as CSV."""
        return "\n".join(["prediction_id,prediction", *(f"{name},{word}" for name in (*UNSEEN, "v-1")), ""]).encode()

    def become(self, **changes: Any) -> None:
        """The retraining goes on."""
        known = self.house.ledger.retraining("shop", self.order.retraining)
        assert known is not None
        self.house.ledger.save_retraining(replace(known, **changes))


@contextmanager
def outsider(server: Embedded, folder: Path, trainer: Trainer = TRAINER, **settings: Any) -> Iterator[Outsider]:
    """A retraining that is training, its order placed and its files shared."""
    with open_shop(server, folder, POLICY, **{"public_url": "https://tidegate.example", **settings}) as plain:
        clock = Clock()
        house = replace(plain, clock=clock)
        house.ledger.add_model("shop")
        place = folder / "retrainings" / "r-1" / "f00d" / "training"
        place.mkdir(parents=True)
        (place / "job.json").write_text('{"candidates": ["after_change"]}')
        for name, ids in (("unseen", UNSEEN), ("validation", VALIDATION), ("train-after_change", ("t-1",))):
            parquet.write_table(pa.table({"prediction_id": ids}), place / f"{name}.parquet")
        (place / "secret.parquet").write_bytes(b"what no trainer may read")
        if not house.files.is_local:  # as whoever prepares an order does
            house.files.upload(place, place.relative_to(folder).as_posix())
        order = Order("r-1", "r-1", "shop", "2", place, trainer, "d" * 64, NOON + timedelta(days=1))
        placed = Placed("r-1", order.digest, {"kind": trainer.kind, **msgspec.to_builtins(trainer)}, order.deadline)
        retraining = Retraining("r-1", "shop", "d-1", "1", "requested", NOON, ("manual",), ("all",), order=placed)
        assert house.ledger.open_retraining(retraining)
        share(house, order)
        with client_of(house) as client:
            found = Outsider(house, clock, client, order)
            found.become(state="training")
            yield found
