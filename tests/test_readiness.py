from pathlib import Path

import pyarrow as pa
import pytest
from streams import predictions

from policies.file.parse import parse
from policies.file.without_effect import without_effect
from service.training.readiness import BadCases, failed_cases, latency_p95
from service.training.trainers import refit

ROWS = pa.table(
    {"feature_x": [float(i % 10) for i in range(200)], "label": ["low" if i % 10 < 5 else "high" for i in range(200)]}
)
MODEL = refit(ROWS, task="classification", step=3)


def cases(folder: Path, *lines: str) -> Path:
    file = folder / "cases.ndjson"
    file.write_text("\n".join(lines))
    return file


def test_cases_that_the_model_gets_wrong_are_counted(tmp_path):
    right = '{"features": {"x": 1}, "prediction": "low"}'
    wrong = '{"features": {"x": 9}, "prediction": "low"}'
    assert failed_cases(MODEL, cases(tmp_path, right)) == 0
    assert failed_cases(MODEL, cases(tmp_path, right, wrong, wrong)) == 2


@pytest.mark.parametrize("line", ["", "{", '{"features": {}}', '{"feature": {}, "prediction": "low"}'])
def test_a_file_of_cases_that_cannot_be_used_is_an_error_and_no_pass(tmp_path, line):
    with pytest.raises(BadCases, match="must_pass"):
        failed_cases(MODEL, cases(tmp_path, line))
    with pytest.raises(BadCases, match="must_pass"):
        failed_cases(MODEL, tmp_path / "absent.ndjson")


def test_the_time_of_one_prediction_is_measured():
    assert 0 < latency_p95(MODEL, predictions(50)).total_seconds() < 10


def test_keys_without_effect_are_said_and_the_rest_are_not():
    assert without_effect(parse("{model: m, task: {kind: classification}}")) == []
    text = "{model: m, task: {kind: classification}, gate: {canary: {share: 5%, for: 6h}}, "
    text += "retrain: {trainer: {kind: command, command: [train]}}, window: {slice: 1d, season: hour_of_day}}"
    assert [sentence.split()[0] for sentence in without_effect(parse(text))] == [
        "window.season",
        "gate.canary",
        "retrain.trainer",
    ]
