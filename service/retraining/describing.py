"""Describing: the rows that a new version's baseline is made of, with predictions by a model that had not seen them."""

import pyarrow as pa
import pyarrow.compute as pc

from service.ledger.records import Retraining
from service.retraining.answer import read_answer
from service.retraining.folder import Folder
from service.retraining.releasing import BASELINE_ROWS, describe_now, when_rows_changed
from service.training.comparing import with_predictions
from service.training.models import Model


def rows_to_describe(folder: Folder, retraining: Retraining) -> pa.Table:
    """The rows for the baseline of a retraining's version: the holdout as the challenger judged it, and what it was
    taught and tried with, where honest predictions of that were left. Of a model that stays outside those are the rows
    of the validation.

    Raises:
        BadAnswer: as `read_answer`.
    """
    answer = read_answer(folder.training, folder.job.task, folder.asked.unseen, folder.read("validation"))
    known = [folder.read("validation")]
    if answer.candidate:
        known.insert(0, folder.read(f"train-{answer.candidate}"))
    learnt = _predicted(pa.concat_tables(known, promote_options="permissive"), answer.honest, retraining.version)
    unseen = [_predicted(folder.read("holdout"), answer.predictions, retraining.version)]
    if answer.candidate and answer.model:
        # What curation left out was traffic all the same: without it the usual shares would be those of the training.
        aside = folder.read(f"aside-{answer.candidate}")
        unseen.append(with_predictions(aside, answer.model.predict(aside), retraining.version))
    rows = pa.concat_tables([learnt, *unseen], promote_options="permissive")
    if answer.model and rows.num_rows < BASELINE_ROWS:
        # A baseline of fewer can never be read against: its version would be blind until somebody retrains by hand.
        rows = pa.concat_tables([rows, _before(folder, rows, answer.model, retraining)], promote_options="permissive")
    return describe_now(rows, when_rows_changed(retraining))


def _before(folder: Folder, rows: pa.Table, model: Model, retraining: Retraining) -> pa.Table:
    """What the largest candidate holds beside the rows: older ones, of which the model has seen none."""
    largest = max((folder.read(f"train-{name}") for name in folder.job.candidates), key=lambda table: table.num_rows)
    others = largest.filter(pc.invert(pc.is_in(largest.column("prediction_id"), rows.column("prediction_id"))))
    return with_predictions(others, model.predict(others), retraining.version) if others.num_rows else rows.slice(0, 0)


def _predicted(rows: pa.Table, said: pa.Table, version: str) -> pa.Table:
    """Those of the rows that have a prediction, with it."""
    at = pc.index_in(rows.column("prediction_id"), value_set=said.column("prediction_id").combine_chunks())
    own = rows.filter(pc.is_valid(at))
    return with_predictions(own, said.take(at.drop_null()), version)
