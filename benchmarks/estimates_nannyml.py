"""NannyML's estimates for `estimates.py`, which starts this in NannyML's own environment.

Run: PYTHON benchmarks/estimates_nannyml.py FOLDER TASK ROWS_A_CHUNK POSITIVE_CLASS
"""

import json
import sys
import warnings
from time import process_time

warnings.filterwarnings("ignore")

import nannyml  # noqa: E402  its imports warn
import pandas as pd  # noqa: E402


def main() -> None:
    folder, task, rows, positive = sys.argv[1:]
    reference, later = (pd.read_parquet(f"{folder}/{name}.parquet") for name in ("reference", "later"))
    columns = {"y_pred": "prediction", "y_true": "label", "chunk_size": int(rows)}
    scores = {name.removeprefix("score_"): name for name in reference.columns if name.startswith("score_")}
    if task == "regression":
        features = [name for name in reference.columns if name.startswith("feature_")]
        metric = "mae"
        estimator = nannyml.DLE(feature_column_names=features, metrics=[metric], tune_hyperparameters=False, **columns)
    elif positive:
        metric = "accuracy"
        for table in (reference, later):
            table[["prediction", "label"]] = (table[["prediction", "label"]] == positive).astype(int)
        chance = scores[positive]
        estimator = nannyml.CBPE(problem_type="classification_binary", y_pred_proba=chance, metrics=[metric], **columns)
    else:
        metric = "accuracy"
        estimator = nannyml.CBPE(
            problem_type="classification_multiclass", y_pred_proba=scores, metrics=[metric], **columns
        )
    began = process_time()
    estimator.fit(reference)
    found = estimator.estimate(later).filter(period="analysis").to_df()
    seconds = process_time() - began
    print(json.dumps({"estimates": found[metric]["value"].tolist(), "seconds": seconds}))


if __name__ == "__main__":
    main()
