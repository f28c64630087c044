"""Routing: what a production system does that asks for the assignment; a replay and the demo are their own one."""

import pyarrow as pa
import pyarrow.compute as pc

from service.house import House
from service.retraining.assignment import read_split
from service.training.registry import Registry


def serve_routed(house: House, registry: Registry, model: str, rows: pa.Table) -> pa.Table:
    """`model_version`, `prediction` and `confidence` for each row, by the version that its prediction id is assigned.

    Raises:
        TrainingError: a version that serves is not held here.
    """
    split = read_split(house, model)
    versions = pa.array([split.version_for(each) for each in rows.column("prediction_id").to_pylist()], pa.string())
    parts, places = [], []
    for version in dict.fromkeys(versions.to_pylist()):
        own = pc.indices_nonzero(pc.equal(versions, version))
        answers = registry.load(model, version).predict(rows.take(own))
        said = pa.table({name: answers.column(name) for name in ("prediction", "confidence")})
        parts.append(said.append_column("model_version", pa.array([version] * len(own), pa.string())))
        places.append(own)
    at = pc.sort_indices(pa.concat_arrays(places))
    return pa.concat_tables(parts).take(at)
