"""`tidegate train-job`: the builtin trainer away from the service: what a Job on Kubernetes runs by itself."""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from service.errors import ServiceError
from service.web.static.tidegate_trainer import Order, Refused
from service.web.static.tidegate_trainer import run as carry_out


class NoOrder(ServiceError):
    """Nobody said what is to be trained."""

    def __init__(self) -> None:
        super().__init__("TIDEGATE_ORDER is not set: the service gives it to the Jobs that it makes")


class OrderRefused(ServiceError):
    """The service does not want this training, or not any more."""


def run(_: argparse.Namespace) -> int:
    """0 when the model was sent, 1 when there is none."""
    asked = os.environ.get("TIDEGATE_ORDER", "")
    if not asked:
        raise NoOrder
    # The first process of a container gets no signal that it does not ask for: it would be killed half a minute later.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
        command = [sys.executable, "-m", "service.training.train_job", folder]
        try:
            return carry_out(Order.read(asked), command, Path(folder))
        except (Refused, OSError, ValueError, LookupError) as error:
            raise OrderRefused(f"the order could not be carried out: {error}") from error
