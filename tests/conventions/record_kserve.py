"""Record what a real KServe model server says, for tests/test_kserve.py.

A scikit-learn model is served by `kserve.ModelServer` on loopback, asked in every form its two protocols allow, and the
requests and responses are written down as they went over the wire. Needs a virtual environment of its own:

    python -m venv /tmp/kserve && /tmp/kserve/bin/pip install 'kserve==0.21.*' scikit-learn httpx
    /tmp/kserve/bin/python tests/conventions/record_kserve.py tests/conventions/kserve_0_21.json
"""

import base64
import json
import multiprocessing
import socket
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
from kserve import InferRequest, InferResponse, Model, ModelServer
from kserve.protocol.rest.server import RESTServer
from kserve.utils.utils import get_predict_input, get_predict_response
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

IRIS = load_iris()
NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.1, 4.4, 1.4], [6.3, 3.3, 6.0, 2.5]]


class Iris(Model):
    """Reads and answers as KServe's own scikit-learn server does: the same two functions of its library."""

    def __init__(self, name: str, *, target: Any, probabilities: bool = False) -> None:
        super().__init__(name)
        model = LogisticRegression(max_iter=1000).fit(IRIS.data, target)
        self.answer_with = model.predict_proba if probabilities else model.predict
        self.ready = True

    async def predict(self, payload: dict | InferRequest, *_: Any, **__: Any) -> dict | InferResponse:
        rows = np.asarray(get_predict_input(payload), dtype=float)
        answer = self.answer_with(rows)
        # Its library sends texts over the second protocol only where they come as a list.
        return get_predict_response(payload, answer.tolist() if answer.dtype.kind == "U" else answer, self.name)


class Texts(Model):
    """A model of texts: BYTES in, BYTES out."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = True

    async def predict(self, payload: dict | InferRequest, *_: Any, **__: Any) -> dict | InferResponse:
        return get_predict_response(
            payload, ["long" if len(t) > 12 else "short" for t in get_predict_input(payload)], self.name
        )


def models() -> list[Model]:
    names = np.array(IRIS.target_names)[IRIS.target]
    return [
        Iris("iris", target=IRIS.target),
        Iris("iris-names", target=names),
        Iris("iris-proba", target=IRIS.target, probabilities=True),
        Texts("texts"),
        Table("iris-table"),
    ]


class Table(Model):
    """Answers with a data frame: a column for the class and one for how sure it is."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.model = LogisticRegression(max_iter=1000).fit(IRIS.data, IRIS.target)
        self.ready = True

    async def predict(self, payload: dict | InferRequest, *_: Any, **__: Any) -> dict | InferResponse:
        rows = np.asarray(get_predict_input(payload), dtype=float)
        sure = self.model.predict_proba(rows).max(axis=1)
        return get_predict_response(
            payload, pd.DataFrame({"prediction": self.model.predict(rows), "confidence": sure}), self.name
        )


def serve(listener: socket.socket) -> None:
    """The server of `ModelServer`, on a socket of loopback: its own listens on every address."""
    server = ModelServer(enable_grpc=False, workers=1)
    for model in models():
        server.register_model(model)
    RESTServer("kserve.model_server:app", server.dataplane, server.model_repository_extension, 0).run([listener])


def tensor(name: str, data: list, shape: list[int], datatype: str = "FP64", **more: Any) -> dict:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data, **more}


def by_feature() -> list[dict]:
    return [tensor(name, [row[i] for row in ROWS], [3]) for i, name in enumerate(NAMES)]


def binary(request: dict, tensors: list[np.ndarray]) -> tuple[bytes, dict[str, str]]:
    head = json.dumps(request).encode()
    body = head + b"".join(each.tobytes() for each in tensors)
    return body, {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}


def asked() -> list[tuple[str, str, bytes, dict[str, str]]]:
    """(name, path, body, headers) of each exchange."""
    flat = [value for row in ROWS for value in row]
    plain = {
        "v1 lists": ("v1/models/iris:predict", {"instances": ROWS}),
        "v1 one row": ("v1/models/iris:predict", {"instances": ROWS[:1]}),
        "v1 names": ("v1/models/iris-names:predict", {"instances": ROWS}),
        "v1 dicts": (
            "v1/models/iris:predict",
            {"instances": [{n: [v] for n, v in zip(NAMES, row, strict=True)} for row in ROWS]},
        ),
        "v1 frame": (
            "v1/models/iris:predict",
            {"instances": [{n: [row[i] for row in ROWS] for i, n in enumerate(NAMES)}]},
        ),
        "v1 rows in a list": (
            "v1/models/iris:predict",
            {"instances": [[dict(zip(NAMES, row, strict=True)) for row in ROWS]]},
        ),
        "v1 table": ("v1/models/iris-table:predict", {"instances": ROWS}),
        "v1 probabilities": ("v1/models/iris-proba:predict", {"instances": ROWS}),
        "v1 texts": ("v1/models/texts:predict", {"instances": ["where is it", "my parcel is late"]}),
        "v2 matrix": ("v2/models/iris/infer", {"id": "q-1", "inputs": [tensor("input-0", flat, [3, 4])]}),
        "v2 nested": ("v2/models/iris/infer", {"inputs": [tensor("input-0", ROWS, [3, 4])]}),
        "v2 one row": ("v2/models/iris/infer", {"id": "q-2", "inputs": [tensor("input-0", ROWS[0], [1, 4])]}),
        "v2 features": ("v2/models/iris/infer", {"inputs": by_feature(), "parameters": {"content_type": "pd"}}),
        "v2 names": ("v2/models/iris-names/infer", {"inputs": [tensor("input-0", flat, [3, 4], "FP32")]}),
        "v2 probabilities": ("v2/models/iris-proba/infer", {"inputs": [tensor("input-0", flat, [3, 4])]}),
        "v2 table": ("v2/models/iris-table/infer", {"inputs": [tensor("input-0", flat, [3, 4])]}),
        "v2 texts": (
            "v2/models/texts/infer",
            {"inputs": [tensor("text", ["where is it", "my parcel is late"], [2], "BYTES")]},
        ),
    }
    found = [
        (name, path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        for name, (path, body) in plain.items()
    ]
    matrix = np.array(ROWS, dtype="<f8")
    head = {
        "inputs": [
            {"name": "input-0", "shape": [3, 4], "datatype": "FP64", "parameters": {"binary_data_size": matrix.nbytes}}
        ]
    }
    found.append(("v2 binary in", "v2/models/iris/infer", *binary(head, [matrix])))
    head = {**head, "parameters": {"binary_data_output": True}}
    found.append(("v2 binary both", "v2/models/iris/infer", *binary(head, [matrix])))
    found.append(
        ("v1 refused", "v1/models/iris:predict", b'{"instances": "none"}', {"Content-Type": "application/json"})
    )
    return found


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    child = multiprocessing.get_context("fork").Process(target=serve, args=(listener,))
    child.start()
    try:
        # A failed request ends its connection.
        limits = httpx.Limits(max_keepalive_connections=0)
        address = "http://127.0.0.1:{1}".format(*listener.getsockname())
        with httpx.Client(base_url=address, timeout=30, limits=limits) as client:
            for _ in range(600):
                try:
                    if client.get("/v2/health/ready").json().get("ready"):
                        break
                except httpx.HTTPError:
                    time.sleep(0.1)  # the model server is coming up
            exchanges = [_exchange(client, *each) for each in asked()]
    finally:
        child.terminate()
        child.join()
    made = {"made_with": f"kserve {version('kserve')}", "names": NAMES, "exchanges": exchanges}
    Path(sys.argv[1]).write_text(json.dumps(made, indent=1) + "\n")


def _exchange(client: httpx.Client, name: str, path: str, body: bytes, headers: dict[str, str]) -> dict:
    answer = client.post(f"/{path}", content=body, headers=headers)
    return {
        "name": name,
        "path": f"/{path}",
        "request_headers": headers,
        "request": _text(body),
        "status": answer.status_code,
        "response_headers": {
            k: v for k, v in answer.headers.items() if k in {"content-type", "inference-header-content-length"}
        },
        "response": _text(answer.content),
    }


def _text(body: bytes) -> str | dict[str, str]:
    """As it is where it is text, else base64."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


if __name__ == "__main__":
    main()
