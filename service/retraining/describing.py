"""Describing: the rows that a new version's baseline is made of, with predictions by a model that had not seen them."""

import pyarrow as pa
import pyarrow.compute as pc

from service.ledger.records import Retraining
from service.retraining.answer import read_answer
from service.retraining.folder import Folder
from service.retraining.releasing import describe_now, when_rows_changed
from service.training.comparing import with_predictions


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
    return describe_now(rows, when_rows_changed(retraining))


def _predicted(rows: pa.Table, said: pa.Table, version: str) -> pa.Table:
    """Those of the rows that have a prediction, with it."""
    at = pc.index_in(rows.column("prediction_id"), value_set=said.column("prediction_id").combine_chunks())
    own = rows.filter(pc.is_valid(at))
    return with_predictions(own, said.take(at.drop_null()), version)
