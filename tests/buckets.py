"""Object storage for tests: moto's S3 server on loopback, which can be stopped and comes back with what it held."""

import logging
import os
import uuid

import boto3
from moto.server import ThreadedMotoServer

_BUCKET = "tidegate-tests"


class ObjectStorage:
    """One server and one bucket. The AWS_* variables of this process lead to it, as they would in production."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]
        os.environ.update(
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{self.port}",
            AWS_ACCESS_KEY_ID="tests",
            AWS_SECRET_ACCESS_KEY="tests",  # noqa: S106  moto takes any
            AWS_DEFAULT_REGION="us-east-1",
        )
        self.client = boto3.client("s3")
        self.client.create_bucket(Bucket=_BUCKET)

    def place(self) -> str:
        """An address under which nothing lies yet."""
        return f"s3://{_BUCKET}/{uuid.uuid4().hex}"

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def close(self) -> None:
        self.client.close()
        self.stop()
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            del os.environ[name]
