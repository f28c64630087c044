"""Small seeded streams for tests: predictions of a two-class model on two numbers, a category and a text."""

import numpy as np
import pyarrow as pa

START = 1_767_225_600  # 2026-01-01T00:00:00Z
WORDS = ["size", "shoe", "return", "refund", "courier", "parcel", "track", "small", "wide", "late"]


def predictions(
    rows: int,
    *,
    seed: int = 0,
    shift: float = 0.0,
    error: float = 0.1,
    missing: float = 0.0,
    start: int = START,
    step: float = 60.0,
    share_b: float = 0.3,
) -> pa.Table:
    """A batch with labels. `shift` moves x1 (in standard deviations), `error` is the share of wrong ones."""
    rng = np.random.default_rng(seed)
    label = rng.choice(["fit", "returns"], rows)
    wrong = rng.random(rows) < error
    prediction = np.where(wrong, np.where(label == "fit", "returns", "fit"), label)
    x1 = rng.normal(shift, 1, rows)
    x1[rng.random(rows) < missing] = np.nan
    texts = [" ".join(rng.choice(WORDS, 5)) for _ in range(rows)]
    return pa.table(
        {
            "prediction_id": [f"{seed}-{i}" for i in range(rows)],
            "timestamp": pa.array(((start + np.arange(rows) * step) * 1e6).astype("int64"), pa.timestamp("us", "UTC")),
            "model_version": ["1"] * rows,
            "prediction": pa.array(prediction.tolist(), pa.string()),
            "confidence": np.where(wrong, rng.uniform(0.5, 0.8, rows), rng.uniform(0.7, 1.0, rows)),
            "feature_x1": pa.array(x1, from_pandas=True),
            "feature_x2": rng.uniform(0, 1, rows),
            "feature_channel": pa.array(rng.choice(["web", "app"], rows).tolist()),
            "feature_text": pa.array(texts),
            "tag_group": pa.array(np.where(rng.random(rows) < share_b, "b", "a").tolist()),
            "label": pa.array(label.tolist(), pa.string()),
        }
    )
