"""Digests of rows: which rows they are, whatever their order."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def digest_ids(rows: pa.Table) -> str:
    """Hex digest of the prediction ids of the rows, in any order."""
    return digest_of(rows.column("prediction_id"))


def digest_of(ids: pa.ChunkedArray) -> str:
    """Hex SHA-256 of the ids, sorted by their bytes of UTF-8, a line each."""
    found = pc.cast(ids, pa.large_string()).combine_chunks()
    ordered = found.take(pc.sort_indices(found))
    whole = pa.LargeListArray.from_arrays(pa.array(np.array([0, len(ordered)])), ordered)
    (joined,) = pc.binary_join(whole, pa.scalar("\n", pa.large_string()))
    return hashlib.sha256(joined.as_buffer() if len(ordered) else b"").hexdigest()
