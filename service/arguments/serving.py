"""The service, and commands that read files."""

import argparse
from pathlib import Path

from service.arguments.common import Verbs, add_address


def add_serving(verbs: Verbs) -> None:
    serve = verbs.add_parser("serve", help="run the service", description="Run the service until SIGTERM or Ctrl-C.")
    serve.set_defaults(module="serve", quiet_log=False)
    serve.add_argument("--role", help="all (default), api, worker or scheduler")
    serve.add_argument("--host", help="address to listen on; beyond loopback only with access keys")
    serve.add_argument("--port", help="port, 8321 by default")
    _add_places(serve)
    demo = verbs.add_parser("demo", help="the AwesomeShoes story, start to finish")
    demo.set_defaults(module="demo")
    demo.add_argument("--no-serve", action="store_true", help="end instead of serving the console")
    demo.add_argument("--data-dir", help="keep the demo's data here")
    demo.add_argument("--host", default="127.0.0.1", help="address of the console")
    demo.add_argument("--port", default="8321", help="port of the console")
    keys = verbs.add_parser("keys", help="access keys")
    keys.set_defaults(module="keys")
    what = keys.add_subparsers(dest="what", metavar="create|list|revoke", required=True)
    create = what.add_parser("create", help="make a key; it is shown once")
    create.add_argument("name", help="who uses it, and for what")
    create.add_argument("--scope", action="append", required=True, help="ingest, read, operate or admin; repeatable")
    create.add_argument("--model", action="append", default=[], help="only this model; repeatable")
    create.add_argument("--line", action="store_true", help="store nothing; print a line for TIDEGATE_KEYS_FILE")
    revoke = what.add_parser("revoke", help="end a key")
    revoke.add_argument("id")
    for each in (create, revoke, what.add_parser("list", help="all keys that ever were")):
        _add_places(each)


def add_training(verbs: Verbs) -> None:
    training = verbs.add_parser(
        "train-job",
        help="the builtin trainer on another machine",
        description="Fetch the order of TIDEGATE_ORDER, train with the builtin trainer, and send the model back.",
    )
    training.set_defaults(module="train_job", quiet_log=False)


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", help="address of a Redis or Valkey server; without one: the embedded store")
    parser.add_argument("--data-dir", help="folder of the embedded store, the archive and the models")
    parser.add_argument("--policies", help="folder of the policy files")


def add_files(verbs: Verbs) -> None:
    baseline = verbs.add_parser("baseline", help="baselines of model versions")
    build = baseline.add_subparsers(metavar="build", required=True).add_parser("build", help="build one from a file")
    build.set_defaults(module="baseline")
    build.add_argument("file", type=Path, help="Parquet, CSV, NDJSON or Arrow")
    build.add_argument("--model", required=True)
    build.add_argument("--version", required=True)
    build.add_argument("--policy", type=Path, help="policy file; otherwise the one in the policies folder")
    build.add_argument("--champion", action="store_true", help="make the version the champion")
    _add_columns(build)
    build.add_argument("--prediction", default="prediction", help="column of the prediction")
    build.add_argument(
        "--confidence", default="confidence", help="column of the confidence, 0 to 1, where there is one"
    )
    _add_places(build)
    replay = verbs.add_parser("replay", help="stream a file of labelled rows through the whole loop")
    replay.set_defaults(module="replay")
    replay.add_argument("file", type=Path, help="Parquet, CSV, NDJSON or Arrow")
    replay.add_argument("--policy", type=Path, required=True)
    replay.add_argument("--start", type=int, default=2000, metavar="N", help="rows that train the first model")
    _add_columns(replay)
    replay.add_argument("--label-share", type=float, default=1.0, metavar="S", help="share of rows that get a label")
    replay.add_argument("--label-delay", type=int, default=100, metavar="ROWS", help="how many rows late labels come")
    replay.add_argument("--retrain", default="policy", help="policy, never, or every:N rows")
    replay.add_argument("--json", action="store_true", help="print the account as JSON")
    replay.add_argument("--data-dir", help="keep everything here; otherwise it is removed at the end")


def add_imports(verbs: Verbs) -> None:
    imports = verbs.add_parser("import", help="predictions from the logs of another system")
    imports.set_defaults(module="importing")
    imports.add_argument("convention", choices=("sagemaker", "bentoml", "mlserver"), help="who wrote the logs")
    imports.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="files, or folders of files")
    imports.add_argument("--model", required=True)
    imports.add_argument("--version", help="version of the model, whatever the log says")
    imports.add_argument("--columns", default="", metavar="NAME,NAME", help="names of features that come as a list")
    imports.add_argument("--prediction", default="", metavar="NAME", help="field or column of the prediction")
    imports.add_argument(
        "--threshold", type=float, metavar="P", help="a number alone is the probability of class 1, predicted from P on"
    )
    imports.add_argument("--zone", default="UTC", help="zone of times without one, like Europe/Berlin; UTC by default")
    imports.add_argument("--dry-run", action="store_true", help="send nothing; print the first rows")
    add_address(imports)


def _add_columns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timestamp", default="timestamp", help="column of the time")
    parser.add_argument("--label", default="label", help="column of the label")
