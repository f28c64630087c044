# ruff: noqa: INP001  a file to be fetched and run by itself
"""Runs a training for Tidegate on another machine, with nothing but Python's standard library.

    TIDEGATE_ORDER='{"url": "https://…/v1/retrainings/r-…", "token": "tgt_…", …}' python tidegate_trainer.py CMD…

It fetches the files of the order, runs CMD in their folder with the environment that a trainer of kind `command` has,
tells the lines of `checkpoints.ndjson` as they come, sends what CMD leaves (`model/`, or `answer/predictions.*`), and
says how it ended. `TIDEGATE_ORDER` is the order as it was posted, or the name of a file that holds it. Where
`TIDEGATE_RUN` says what this run of the pipeline is called, a second run of the same order ends at once, with code 0.
With `TIDEGATE_TRAINER_SECRET` events are signed by Standard Webhooks, without it the token says who speaks.
"""

import base64
import hashlib
import hmac
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

FORMS = {".parquet": "application/vnd.apache.parquet", ".ndjson": "application/x-ndjson", ".csv": "text/csv"}
PAUSES = (1, 2, 4, 8, 16, 32)
LOOK_SECONDS = 2.0


class Refused(Exception):
    """The service said no; another try would be answered the same."""

    def __init__(self, status: int, problem: bytes) -> None:
        super().__init__(f"{status}: {problem.decode(errors='replace')[:2000]}")
        self.status = status
        self.is_other_run = b"another-run" in problem


class Order:
    """An order, as it was posted: `data` of the event."""

    def __init__(self, asked: dict[str, Any], secret: str = "") -> None:
        self.asked, self.secret = asked, secret

    @classmethod
    def read(cls, text: str, secret: str = "") -> "Order":
        """The order of a JSON text, with or without its envelope, or of a file of that name."""
        said = json.loads(text if text.lstrip().startswith("{") else Path(text).read_bytes())
        for inside in ("client_payload", "order", "conf", "data"):
            said = said[inside] if isinstance(said.get(inside), dict) else said
        return cls(said, secret)

    def ask(
        self, method: str, path: str, body: bytes | None = None, form: str = "application/json", **headers: str
    ) -> bytes:
        """What the service answers, tried again while it is away. Raises Refused."""
        sent = {"Authorization": f"Bearer {self.asked['token']}", "Content-Type": form, **headers}
        for pause in (*PAUSES, 0):
            request = urllib.request.Request(  # noqa: S310  the address is the order's
                f"{self.asked['url']}/{path}", body, {k: v for k, v in sent.items() if v}, method=method
            )
            try:
                with urllib.request.urlopen(request, timeout=300) as reply:  # noqa: S310  same
                    whole: bytes = reply.read()
                    return whole
            except urllib.error.HTTPError as error:
                if (error.code < 500 and error.code not in {408, 425, 429}) or not pause:
                    raise Refused(error.code, error.read()) from error
            except OSError:
                if not pause:
                    raise
            time.sleep(pause)
        raise AssertionError

    def say(self, kind: str, **facts: object) -> None:
        """Post an event; the same event has the same id, so it counts once however often it is said."""
        body = json.dumps({"type": kind, **_finite(facts)}, sort_keys=True).encode()
        identity, at = f"e-{hashlib.sha256(body).hexdigest()[:32]}", str(int(time.time()))
        headers = {"webhook-id": identity}
        if self.secret:
            key = base64.b64decode(self.secret.removeprefix("whsec_"))
            signature = hmac.digest(key, f"{identity}.{at}.".encode() + body, hashlib.sha256)
            signed = "v1," + base64.b64encode(signature).decode()
            headers |= {"webhook-timestamp": at, "webhook-signature": signed, "Authorization": ""}
        self.ask("POST", "events", body, **headers)

    def fetch(self, folder: Path) -> None:
        """Bring the files here, and check that they are whole."""
        for file in json.loads(self.ask("GET", "files"))["files"]:
            content = self.ask("GET", f"files/{file['name']}")
            if hashlib.sha256(content).hexdigest() != file["sha256"]:
                raise OSError(f"{file['name']} did not come whole")
            (folder / file["name"]).write_bytes(content)

    def send(self, folder: Path) -> None:
        """Send what a trainer left. Raises Refused where it cannot be used."""
        if (folder / "model" / "manifest.json").is_file():
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                for name in ("model/model.skops", "model/manifest.json", "result.json", "oof.parquet"):
                    if (folder / name).is_file():
                        archive.write(folder / name, name)
            self.ask("PUT", "model", packed.getvalue(), "application/zip")
            return
        found = [file for file in sorted((folder / "answer").glob("predictions.*")) if file.suffix in FORMS]
        if not found:
            raise FileNotFoundError("the trainer left neither model/ nor answer/predictions.parquet, .csv or .ndjson")
        self.ask("PUT", "answer", found[0].read_bytes(), FORMS[found[0].suffix])


def run(order: Order, command: list[str], folder: Path, name: str = "") -> int:
    """Carry out an order with a command; gives its exit code. Every end is said to the service."""
    try:
        order.say("started", **({"run": name} if name else {}))
    except Refused as refused:
        if refused.is_other_run:
            print(refused)  # noqa: T201  the log of a pipeline
            return 0
        raise
    try:
        order.fetch(folder)
        (folder / "answer").mkdir(exist_ok=True)
        code = _train(order, command, folder)
        if code:
            order.say("failed", reason=_why_failed(folder, command[0], code))
            return code
        order.send(folder)
        said = folder / "answer" / "answer.json"
        words = json.loads(said.read_bytes()) if said.is_file() else {}
        order.say("succeeded", **{key: words[key] for key in ("uri", "digest", "metrics") if key in words})
    except Exception as error:
        with suppress(Refused):  # where it was cancelled nothing more is heard
            order.say("failed", reason=f"{type(error).__name__}: {error}"[:2000])
        raise
    return 0


def _train(order: Order, command: list[str], folder: Path) -> int:
    job = json.loads((folder / "job.json").read_bytes())
    places = {
        "FOLDER": folder,
        "JOB": folder / "job.json",
        "TRAIN": folder / f"train-{job['candidates'][0]}.parquet",
        "VALIDATION": folder / "validation.parquet",
        "UNSEEN": folder / "unseen.parquet",
        "ANSWER": folder / "answer",
    }
    names = {"RETRAINING": order.asked.get("retraining", ""), "MODEL": job["model"], "VERSION": job["version"]}
    environment = {name: value for name, value in os.environ.items() if name != "TIDEGATE_TRAINER_SECRET"}
    environment |= {f"TIDEGATE_{name}": str(value) for name, value in (places | names).items()}
    told = 0
    with subprocess.Popen(command, cwd=folder, env=environment) as child:
        try:
            while child.poll() is None:
                told = _tell(order, folder, told)
                try:
                    child.wait(LOOK_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
            _tell(order, folder, told)
        except BaseException:
            child.kill()  # it was cancelled, or the pipeline ends
            raise
    return child.returncode


def _why_failed(folder: Path, program: str, code: int) -> str:
    """What a trainer says of its end in `error.json`, as the builtin one does; else how it ended."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        said = json.loads((folder / "error.json").read_bytes())
        return f"{said['error']}: {said['message']}"[:2000]
    if code >= 0:
        return f"{program} ended with code {code}"
    more = ": did it need more memory than it may have?" if -code == signal.SIGKILL else ""
    return f"{program} was ended by {signal.Signals(-code).name}{more}"


def _tell(order: Order, folder: Path, told: int) -> int:
    """Tell the lines that are new; a checkpoint that the service cannot use is no reason to end."""
    file = folder / "checkpoints.ndjson"
    lines = file.read_text().split("\n")[:-1] if file.is_file() else []
    for line in lines[told:]:
        print(line[:1000], flush=True)  # noqa: T201  the log of a pipeline
        known = ("step", "loss", "validation_loss", "metrics", "progress", "candidate")
        try:
            said = json.loads(line)
            order.say("checkpoint", **{key: said[key] for key in known if key in said})
        except (ValueError, TypeError) as error:
            print(f"a line of checkpoints.ndjson cannot be told: {error}")  # noqa: T201  same
        except Refused as refused:
            if refused.status == 409:
                raise
            print(refused)  # noqa: T201  the log of a pipeline
    return len(lines)


def _finite(value: Any) -> Any:  # noqa: ANN401  plain values of JSON
    """The value with null for numbers that JSON has no words for."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> int:
    """Run the command of the command line for the order of the environment."""
    order = Order.read(os.environ["TIDEGATE_ORDER"], os.environ.get("TIDEGATE_TRAINER_SECRET", ""))
    folder = Path(os.environ.get("TIDEGATE_FOLDER", "tidegate-order")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return run(order, sys.argv[1:], folder, os.environ.get("TIDEGATE_RUN", ""))


if __name__ == "__main__":
    sys.exit(main())
