"""Following an order: start what was placed, look how it goes, start again what was lost, end what takes too long."""

import logging
from contextlib import suppress
from dataclasses import replace

from service.errors import ServiceError
from service.launching.choose import LauncherOf
from service.launching.port import Launcher, LaunchFailed, Order, Progress
from service.ledger.ledger import RetrainingMoved
from service.retraining.standing import Standing, trainer_of
from service.training.training_errors import TrainingFailed

_log = logging.getLogger(__name__)
MOST_LAUNCHES = 3
"""A trainer that is lost three times takes its machine down, or is taken down: a person has to look."""


def is_answered(launchers: LauncherOf, standing: Standing, *, notes: bool = False) -> bool:
    """Whether the order that was placed has succeeded. With `notes` its checkpoints are noted in the record.

    Raises:
        TrainingFailed: it has failed, was lost too often, or its time is over.
        RetrainingCancelled: a person wants it to end.
    """
    order = standing.order
    launcher = launchers(order.trainer)
    try:
        if not standing.placed.launches:
            _launch(launcher, order, standing, launches=1)
        progress = launcher.look(order)
    except LaunchFailed as error:
        _check_time(standing, order, str(error))
        standing.note(f"waiting: {error}")
        return False
    checkpoints = tuple(each.to_dict() for each in progress.checkpoints)
    if notes and checkpoints != tuple(standing.record.checkpoints):
        standing.save(checkpoints=checkpoints)
    standing.heed()
    if progress.state == "failed":
        raise TrainingFailed(progress.reason)
    if progress.state == "succeeded":
        return True
    _check_time(standing, order, progress.reason)
    if progress.state == "lost":
        _launch_again(launcher, order, standing, progress)
    else:
        standing.note(f"waiting: {progress.reason}" if progress.reason else "")
    return False


def give_up(launchers: LauncherOf, standing: Standing) -> None:
    """End the training of a retraining that ends without a release. What cannot be reached ends by its own deadline."""
    if standing.record.order is None:
        return
    try:
        order = standing.order
        launchers(trainer_of(standing.placed)).cancel(order)
    except ServiceError as error:
        _log.warning("the training of %s was not ended: %s", standing.record.id, error)


def _launch_again(launcher: Launcher, order: Order, standing: Standing, progress: Progress) -> None:
    launches = standing.placed.launches + (not progress.is_stopped)
    if launches > MOST_LAUNCHES:
        raise TrainingFailed(f"the training was lost {MOST_LAUNCHES} times; the last time: {progress.reason}")
    _log.warning("the training %s of %s was lost and is started again: %s", order.name, order.model, progress.reason)
    with suppress(LaunchFailed):
        _launch(launcher, order, standing, launches)


def _launch(launcher: Launcher, order: Order, standing: Standing, launches: int) -> None:
    """Start it, and then count that: whoever comes between the two starts it once more, which changes nothing."""
    _check_time(standing, order)
    launcher.launch(order)
    try:
        standing.save(order=replace(standing.placed, launches=launches), note="")
    except RetrainingMoved:
        stands = standing.house.ledger.retraining(order.model, order.retraining)
        if stands is not None and stands.is_finished:
            launcher.cancel(order)  # it was over before it was started
        raise


def _check_time(standing: Standing, order: Order, last: str = "") -> None:
    if standing.house.clock() >= order.deadline:
        advice = "see what the trainer does, or raise retrain.trainer.timeout"
        more = f"; at last: {last}" if last else ""
        raise TrainingFailed(f"no answer within {order.trainer.timeout}: {advice}{more}")
