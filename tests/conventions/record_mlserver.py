"""Record what a real MLServer is asked and answers, for tests/test_imports.py: its Kafka topics, and a log of bodies.

There is no broker here: the messages pass through MLServer's own Kafka handlers and are written down as `kcat -J` shows
the messages of a topic.

    python -m venv /tmp/mlserver && /tmp/mlserver/bin/pip install mlserver mlserver-sklearn
    /tmp/mlserver/bin/python tests/conventions/record_mlserver.py tests/conventions/mlserver
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import joblib
import orjson
from mlserver import MLServer, ModelSettings, Settings
from mlserver.kafka.handlers import KafkaHandlers
from mlserver.kafka.message import KafkaMessage
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest
from mlserver_sklearn import SKLearnModel
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.1, 4.4, 1.4], [6.3, 3.3, 6.0, 2.5]]
BOTH = [{"name": "predict"}, {"name": "predict_proba"}]


def asked(identity: str, rows: list[list[float]], **more: object) -> dict:
    data = [value for row in rows for value in row]
    tensor = {"name": "x", "shape": [len(rows), 4], "datatype": "FP64", "data": data}
    return {"id": identity, "inputs": [tensor], **more}


async def main(aim: Path) -> None:
    iris = load_iris()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.joblib"
        joblib.dump(LogisticRegression(max_iter=1000).fit(iris.data, iris.target), file)
        settings = Settings(parallel_workers=0, metrics_endpoint=None, environments_dir=folder)
        server = MLServer(settings)
        parameters = ModelParameters(uri=str(file), version="v3")
        model = ModelSettings(name="iris", implementation=SKLearnModel, parameters=parameters)
        await server._model_registry.load(model)  # what `mlserver start` does with a folder of models
        await _topics(server, aim)
        await _bodies(server, aim)


async def _topics(server: MLServer, aim: Path) -> None:
    handlers = KafkaHandlers(server._data_plane)
    requests, responses = [], []
    for place, body in enumerate((asked("k-1", ROWS), asked("k-2", ROWS[:1], outputs=BOTH))):
        headers = {"mlserver-model": "iris"}
        # As it is before the server adds to it: that is what the producer put on the topic.
        requests.append(_as_kcat("mlserver-input", place, body["id"], orjson.dumps(body).decode(), headers))
        answer = await handlers.infer(KafkaMessage(key=body["id"], value=body, headers=headers))
        told = answer.encoded_value.decode()
        responses.append(_as_kcat("mlserver-output", place, answer.key, told, answer.headers))
    (aim / "mlserver-input.jsonl").write_bytes(b"".join(requests))
    (aim / "mlserver-output.jsonl").write_bytes(b"".join(responses))


def _as_kcat(topic: str, offset: int, key: str | None, payload: str, headers: dict[str, str]) -> bytes:
    pairs = [word for pair in headers.items() for word in pair]
    told = {"topic": topic, "partition": 0, "offset": offset, "tstype": "create", "ts": int(time.time() * 1000)}
    return orjson.dumps({**told, "broker": 0, "headers": pairs, "key": key, "payload": payload}) + b"\n"


async def _bodies(server: MLServer, aim: Path) -> None:
    """As a runtime logs them: both bodies, with the CloudEvents headers that MLServer adds."""
    lines = []
    for body in (asked("b-1", ROWS, outputs=BOTH), {"inputs": asked("", ROWS[:1])["inputs"]}):
        request = InferenceRequest(**body)
        response = await server._data_plane.infer(request, "iris")
        lines += [request.model_dump_json(exclude_none=True), response.model_dump_json(exclude_none=True)]
    (aim / "bodies.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    chosen = Path(sys.argv[1])
    chosen.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(chosen))
