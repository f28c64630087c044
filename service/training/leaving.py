"""Leaving a model: for a program of one's own that trains as a command, and answers with a model of this package."""

import os
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from service.training.curating.digests import digest_ids
from service.training.model_files import Manifest, write_model
from service.training.models import Model
from service.training.train_files import read_job


def leave_model(model: Model) -> Manifest:
    """Write `model/` into the folder of the order that this program carries out; Tidegate then keeps and asks it.

    Raises:
        KeyError: this program was not started as a trainer: there is no TIDEGATE_FOLDER.
        TrainingData: the folder holds no job.
    """
    folder = Path(os.environ["TIDEGATE_FOLDER"])
    job = read_job(folder)
    rows = pq.read_table(os.environ["TIDEGATE_TRAIN"], columns=["prediction_id"])
    created = datetime.fromisoformat(job.created)
    return write_model(
        folder / "model", model, name=job.model, version=job.version, created=created, rows_digest=digest_ids(rows)
    )
