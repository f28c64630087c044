"""Trainers that do wrong, as programs of a policy's command, and what has to become of each."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from test_replay import POLICY

from service.launching.command import Command
from service.launching.limits import Limits
from service.ledger.records import Retraining
from service.retraining.opening import open_retraining

CHANGE = 1500
TIMEOUT_SECONDS = 60
LIMITS = Limits(memory_bytes=3 << 30, cpu_seconds=300, disk_bytes=64 << 20)

# It learns which way round the label follows x1, which is all there is to know of this world.
_LEARN = """
import json, os, time
import pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq
parts = ("TRAIN", "VALIDATION", "UNSEEN")
train, validation, unseen = (pq.read_table(os.environ["TIDEGATE_" + part]) for part in parts)
high = train.filter(pc.greater(train["feature_x1"], 0))
follows = pc.mean(pc.cast(pc.equal(high["label"], "yes"), "double")).as_py() > 0.5
asked = pa.concat_tables([rows.select(["prediction_id", "feature_x1"]) for rows in (unseen, validation)])
right = pc.if_else(pc.equal(pc.greater(asked["feature_x1"], 0), follows), "yes", "no")
wrong = pc.if_else(pc.equal(right, "yes"), "no", "yes")
ids = asked["prediction_id"]

def answer(ids, predictions):
    pq.write_table(pa.table({"prediction_id": ids, "prediction": predictions}), "answer/predictions.parquet")
    with open("answer/answer.json", "w") as words:
        json.dump({"uri": "file:///models/flip", "metrics": {"accuracy": 1.0}}, words)

def tell(**said):
    with open("checkpoints.ndjson", "a") as lines:
        lines.write(json.dumps(said) + "\\n")
"""
GOOD = f"""{_LEARN}
tell(step=1, loss=0.2, metrics={{"all": {{"accuracy": 0.95}}}})
answer(ids, right)
"""


@dataclass(frozen=True)
class Poison:
    """A program, how its retraining has to end, and what of the reason has to be said."""

    program: str
    state: str
    reason: str
    timeout_seconds: int = TIMEOUT_SECONDS


def _knowing(program: str, state: str, reason: str) -> Poison:
    return Poison(_LEARN + program, state, reason)


def _teaching(program: str, reason: str) -> Poison:
    """With a model of our own kind to begin with."""
    begin = (
        "import hashlib, io, json, os, zipfile\nimport numpy as np\nimport pyarrow.parquet as pq\n"
        "from dataclasses import replace\nfrom service.training.leaving import leave_model\n"
        "from service.training.trainers import train\n"
        "rows, validation = (pq.read_table(os.environ['TIDEGATE_' + part]) for part in ('TRAIN', 'VALIDATION'))\n"
        "model = train(rows, validation, task='classification', columns={'group': 'tag'})\n"
    )
    return Poison(begin + program, "failed", reason)


POISONS: Mapping[str, Poison] = {
    "crashes at once": Poison("raise SystemExit(1)", "failed", "ended with code 1"),
    "crashes midway": _knowing(
        "tell(step=1, loss=0.2)\nanswer(ids, wrong)\nos.kill(os.getpid(), 11)", "failed", "SIGSEGV"
    ),
    "hangs": Poison("import time; time.sleep(600)", "failed", "timeout", timeout_seconds=2),
    "hangs and ignores SIGTERM": Poison(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)",
        "failed",
        "timeout",
        timeout_seconds=2,
    ),
    "exits with 0 and no answer": Poison("print('done')", "failed", "without an answer"),
    "NaN metrics": _knowing(
        'tell(step=1, loss=float("nan"), metrics={"all": {"accuracy": float("inf")}})\nanswer(ids, wrong)',
        "refused",
        "gain in accuracy",
    ),
    "lying metrics": _knowing(
        'tell(step=1, loss=0.0, metrics={"all": {"accuracy": 1.0}})\nanswer(ids, wrong)',
        "refused",
        "gain in accuracy",
    ),
    "a million checkpoints": _knowing(
        'open("checkpoints.ndjson", "w").writelines(\'{"step": %d, "loss": 0.1}\\n\' % i for i in range(1_000_000))\n'
        "answer(ids, wrong)",
        "refused",
        "gain in accuracy",
    ),
    "no prediction for some": _knowing("answer(ids.slice(5), right.slice(5))", "failed", "5 of"),
    "rows twice": _knowing(
        "answer(pa.chunked_array([*ids.chunks, *ids.slice(0, 5).chunks]), "
        "pa.chunked_array([*right.chunks, *wrong.slice(0, 5).chunks]))",
        "failed",
        "each prediction_id once",
    ),
    "rows of other ids": _knowing(
        'answer(pa.chunked_array([*ids.chunks, pa.array(["p-other"])]), pa.chunked_array([*right.chunks, ["no"]]))',
        "failed",
        "nobody asked about",
    ),
    "empty predictions": _knowing("answer(ids, pa.nulls(len(ids), pa.string()))", "failed", "empty"),
    "NaN predictions": _knowing("answer(ids, pa.array([float('nan')] * len(ids)))", "failed", "type double"),
    "predictions of another type": _knowing("answer(ids, pc.equal(right, 'yes'))", "failed", "type bool"),
    "a class that does not exist": _knowing(
        'answer(ids, pa.array(["maybe"] * len(ids)))', "refused", "gain in accuracy"
    ),
    "one class for all": _knowing('answer(ids, pa.array(["yes"] * len(ids)))', "refused", "yes in 100"),
    "an answer of nonsense": Poison(
        "open('answer/predictions.parquet', 'wb').write(b'PAR1' * 9)", "failed", "cannot be read"
    ),
    "an answer that unpacks to 16 GB": _knowing(
        "kind = pa.dictionary(pa.int32(), pa.string())\n"
        "many = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000_000, pa.int32()), ['x' * 400])\n"
        "pq.write_table(pa.table({'prediction_id': many, 'prediction': many}), 'answer/predictions.parquet')",
        "failed",
        "unpack to",
    ),
    "more memory than it may have": Poison(
        "rows = []\nwhile True: rows.append(bytearray(1 << 28))", "failed", "MemoryError"
    ),
    "a huge model": Poison(
        "import os\nos.mkdir('model')\nwith open('model/model.skops', 'wb') as f:\n"
        "    while True: f.write(bytes(1 << 20))",
        "failed",
        "File too large",
    ),
    "many large files": Poison(
        "import time\nfor i in range(90): open(f'part-{i}', 'wb').write(bytes(1 << 20))\ntime.sleep(600)",
        "failed",
        "TIDEGATE_TRAINER_DISK_BYTES",
    ),
    "a pickle as its model": Poison(
        "import hashlib, json, os, pickle\n"
        "class Evil:\n    def __reduce__(self): return os._exit, (66,)\n"
        "data = pickle.dumps(Evil())\nos.mkdir('model')\nopen('model/model.skops', 'wb').write(data)\n"
        "said = dict(model='flip', version='2', created='', task='classification', classes=['no', 'yes'],\n"
        "    features={}, rows_digest='', fingerprint='', sha256=hashlib.sha256(data).hexdigest(), sklearn='')\n"
        "json.dump(said, open('model/manifest.json', 'w'))",
        "failed",
        "not a Tidegate model",
    ),
    "a model of a trillion numbers": _teaching(
        "leave_model(model)\n"
        "old = zipfile.ZipFile('model/model.skops')\n"
        "with zipfile.ZipFile('model/new', 'w') as new:\n"
        "    for name in old.namelist():\n"
        "        if name.endswith('.npy'):\n"
        "            huge = io.BytesIO()\n"
        "            said = {'descr': '<f8', 'fortran_order': False, 'shape': (10**12,)}\n"
        "            np.lib.format.write_array_header_1_0(huge, said)\n"
        "        new.writestr(name, huge.getvalue() if name.endswith('.npy') else old.read(name))\n"
        "os.replace('model/new', 'model/model.skops')\n"
        "manifest = json.load(open('model/manifest.json'))\n"
        "manifest['sha256'] = hashlib.sha256(open('model/model.skops', 'rb').read()).hexdigest()\n"
        "json.dump(manifest, open('model/manifest.json', 'w'))",
        "not a Tidegate model",
    ),
    "a model that does not fit its features": _teaching(
        "leave_model(replace(model, linear=replace(model.linear, weights=model.linear.weights[:1])))",
        "cannot answer",
    ),
    "a link to another file": Poison(
        "import os; os.symlink('/etc/passwd', 'answer/predictions.parquet')", "failed", "without an answer"
    ),
    "a link to what it is judged by": Poison(
        "import os; os.symlink('../../rows/asked.parquet', 'answer/predictions.parquet')", "failed", "without an answer"
    ),
    "an answer folder that leads elsewhere": Poison(
        "import os; os.rmdir('answer'); os.symlink('../rows', 'answer')", "failed", "without an answer"
    ),
    "a pipe that nobody writes": Poison(
        "import os; os.mkfifo('answer/predictions.parquet')", "failed", "without an answer"
    ),
    "a child that outlives it": _knowing(
        "answer(ids, wrong)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(2)\n"
        "        answer(ids, right)\n"
        "    os._exit(0)\n",
        "refused",
        "gain in accuracy",
    ),
    "gigabytes of words": Poison(
        "for i in range(40_000): print('x' * 50_000)\nraise SystemExit(1)", "failed", "ended with code 1"
    ),
    "tampers with its files": _knowing(
        "answer(ids, wrong)\n"
        "for name in ('VALIDATION', 'UNSEEN'):\n"
        "    rows = pq.read_table(os.environ['TIDEGATE_' + name])\n"
        "    lie = rows.select([n for n in rows.column_names if n != 'label']).append_column(\n"
        "        'label', pc.if_else(pc.equal(pc.greater(rows['feature_x1'], 0), follows), 'no', 'yes'))\n"
        "    pq.write_table(lie, os.environ['TIDEGATE_' + name])\n"
        "open('job.json', 'w').write('{}')",
        "refused",
        "gain in accuracy",
    ),
    "tampers with what it is judged by": _knowing(
        "answer(ids, wrong)\n"
        "rows = pq.read_table('../rows/asked.parquet')\n"
        "lie = pc.if_else(pc.equal(pc.greater(rows['feature_x1'], 0), follows), 'no', 'yes')\n"
        "at = rows.column_names.index('label')\n"
        "pq.write_table(rows.set_column(at, 'label', lie), '../rows/asked.parquet')",
        "failed",
        "somebody has changed",
    ),
    "removes all it can reach": Poison("import shutil; shutil.rmtree('..', ignore_errors=True)", "failed", ""),
}


def retrain(shop, number: int, poison: Poison) -> Retraining:
    """The retraining by such a trainer, at its end."""
    folder = shop.house.settings.policies
    program = folder / "trainer.py"
    program.write_text(poison.program)
    command = f"{{kind: command, command: [{sys.executable}, {program}], timeout: {poison.timeout_seconds}s}}"
    (folder / "policy.yaml").write_text(f"{POLICY}retrain: {{trainer: {command}}}\n")
    shop.house.policies.reload()
    decision = shop.decision(change_at=CHANGE)
    open_retraining(shop.house, replace(decision, id=f"d-{number}", at=decision.at + timedelta(seconds=number)))
    command = Command(LIMITS)
    try:
        loop = shop.loop(command, "command")
        while not (done := loop.finish("flip")).is_finished:
            time.sleep(0.02)
    finally:
        command.close()
    return done
