# ruff: noqa: INP001  a program of its own
"""What stands between Tidegate and Kubeflow Pipelines: it checks an order's signature and starts a run of that name.

    TRAINER_SECRET=whsec_… KFP_ENDPOINT=http://ml-pipeline.kubeflow:8888 python kubeflow_receiver.py

Kubeflow starts two runs where it is asked twice. Each says its own name to Tidegate; the first has the order.
"""

import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import kfp
from kfp import dsl


@dsl.container_component
def train(order: str, run: str) -> dsl.ContainerSpec:
    """The trainer's image has /app/train.py and /app/tidegate_trainer.py."""
    script = 'TIDEGATE_ORDER="$0" TIDEGATE_RUN="$1" exec python /app/tidegate_trainer.py python /app/train.py'
    return dsl.ContainerSpec(image="registry.example/trainer:1", command=["sh", "-c", script], args=[order, run])


@dsl.pipeline(name="tidegate-train")
def tidegate_train(order: str) -> None:
    """One step; put yours before and after it."""
    train(order=order, run=dsl.PIPELINE_JOB_ID_PLACEHOLDER).set_caching_options(enable_caching=False)


def is_genuine(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """Whether the body was signed with our secret, in the last five minutes."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    is_ours = any(hmac.compare_digest(expected, each) for each in headers["webhook-signature"].split())
    return is_ours and abs(time.time() - int(headers["webhook-timestamp"])) < 300


class Receiver(BaseHTTPRequestHandler):
    """Answers 202 when the run is made, 401 where the order is not Tidegate's, 503 where Kubeflow is away."""

    def do_POST(self) -> None:
        """Take an order."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if not is_genuine(headers, body, os.environ["TRAINER_SECRET"]):
            self.send_error(401)
            return
        order = json.loads(body)["data"]
        try:
            kfp.Client(host=os.environ["KFP_ENDPOINT"]).create_run_from_pipeline_func(
                tidegate_train, arguments={"order": json.dumps(order)}, run_name=order["order"]
            )
        except Exception:  # noqa: BLE001  whatever it is, Tidegate tries again
            self.send_error(503)
            return
        self.send_response(202)
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 8080), Receiver).serve_forever()  # noqa: S104  a container's own port
