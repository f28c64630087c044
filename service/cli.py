"""The command line: `tidegate`. Each command's code is imported when it runs, so that `--help` answers at once."""

import argparse
import getpass
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from service.errors import ServiceError
from service.settings import Settings

_FLAGS = ("store", "data_dir", "policies", "archive", "durability", "role", "host", "port")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 when all is well, 1 when something is wrong, 2 for unusable arguments."""
    options = _parser().parse_args(arguments)
    level = logging.WARNING if options.quiet_log else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    try:
        command = import_module(f"service.commands.{options.module}")
        return int(command.run(options) or 0)
    except ServiceError as error:
        sys.stderr.write(f"tidegate: {error}\n")
        return 1
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings of the environment, with the flags that were given above them."""
    return Settings.read(os.environ, **{name: getattr(options, name, None) for name in _FLAGS})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tidegate", description="Drift per segment → policy → gated retraining → release or rollback."
    )
    parser.set_defaults(quiet_log=True)
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serving(verbs)
    _add_files(verbs)
    _add_imports(verbs)
    _add_policy(verbs)
    _add_operations(verbs)
    return parser


def _add_serving(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", help="address of a Redis or Valkey server; without one: the embedded store")
    parser.add_argument("--data-dir", help="folder of the embedded store, the archive and the models")
    parser.add_argument("--policies", help="folder of the policy files")


def _add_files(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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


def _add_imports(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
    url = os.environ.get("TIDEGATE_URL", "http://127.0.0.1:8321")
    imports.add_argument("--url", default=url, help=f"address of the service ({url}); a key comes from TIDEGATE_KEY")


def _add_columns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timestamp", default="timestamp", help="column of the time")
    parser.add_argument("--label", default="label", help="column of the label")


def _add_policy(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    policy = verbs.add_parser("policy", help="policy files")
    policy.set_defaults(module="policy")
    what = policy.add_subparsers(dest="what", metavar="check|explain|backtest|schema", required=True)
    check = what.add_parser("check", help="exit 1 with file:line:column of everything that is wrong")
    check.add_argument("files", type=Path, nargs="+", metavar="FILE")
    check.add_argument("--full", action="store_true", help="print the whole policy, and where each value came from")
    check.add_argument(
        "--defaults", type=Path, metavar="FILE", help="what the files inherit; otherwise the defaults.yaml beside each"
    )
    explain = what.add_parser("explain", help="why it would or would not retrain now, condition by condition")
    explain.set_defaults(module="explain")
    explain.add_argument("model")
    explain.add_argument("--segment", help="only this one; otherwise those nearest to a retraining")
    explain.add_argument("--policy", metavar="SHADOW", help="a shadow policy instead of the one in force")
    _add_url(explain)
    schema = what.add_parser("schema", help="JSON Schema for editors")
    schema.add_argument("--defaults", action="store_true", help="that of a defaults.yaml instead")
    _add_backtest(what)
    profiles = verbs.add_parser("profiles", help="what was counted of a model")
    export = profiles.add_subparsers(dest="what", metavar="export", required=True).add_parser(
        "export", help="a model's past as a file, for `policy backtest --profiles`"
    )
    export.set_defaults(module="profiles")
    export.add_argument("model")
    export.add_argument("file", type=Path, metavar="FILE")
    export.add_argument("--since", default="30d", help="how far back, like 30d, or a time; 30d by default")
    url = os.environ.get("TIDEGATE_URL", "http://127.0.0.1:8321")
    export.add_argument("--url", default=url, help=f"address of the service ({url}); a key comes from TIDEGATE_KEY")


def _add_backtest(what: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    backtest = what.add_parser(
        "backtest",
        help="what a policy would have done over stored profiles",
        description="Exit codes: 0 done, 1 not a policy or nothing to look at, 3 what --fail-on-difference or "
        "--most-retrainings forbids.",
    )
    backtest.set_defaults(module="backtest")
    backtest.add_argument("file", type=Path, metavar="FILE")
    backtest.add_argument("--against", type=Path, metavar="FILE", help="another policy; otherwise the one in force")
    backtest.add_argument("--since", default="30d", help="how far back, like 30d, or a time; 30d by default")
    backtest.add_argument("--profiles", type=Path, metavar="FILE", help="an exported past; no service is asked")
    backtest.add_argument("--label-delay", metavar="SPAN", help="how late labels came; the policy's by default")
    backtest.add_argument("--training", metavar="SPAN", help="how long a retraining takes; as they did by default")
    backtest.add_argument("--picture", type=Path, metavar="SVG", help="draw it")
    backtest.add_argument("--fail-on-difference", action="store_true", help="3 where the two would differ")
    backtest.add_argument("--most-retrainings", type=int, metavar="N", help="3 where FILE would retrain more often")
    _add_url(backtest)


def _add_operations(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verbs_of_model = {
        "status": "states of all models, or the segments of one",
        "retrainings": "retrainings and what came of them",
    }
    for name, told in verbs_of_model.items():
        verb = verbs.add_parser(name, help=told)
        verb.add_argument("model", nargs="?")
        verb.set_defaults(module="operate", verb=name)
        _add_url(verb)
    _add_decisions(verbs)
    _add_url(_add_verb(verbs, "approvals", "operate", "what awaits a person's yes, and what it would start"))
    answers = {
        "approve": "agree to a retraining that was proposed",
        "reject": "refuse a retraining that was proposed",
        "cancel": "end a retraining that waits or runs",
    }
    for name, told in answers.items():
        verb = _add_verb(verbs, name, "operate", told)
        verb.add_argument("id", help="as `retrainings` shows it" if name == "cancel" else "as `approvals` shows it")
        _add_term(verb, "how long the answer counts, like 12h; a day by default")
        _add_who(verb)
    for name, told in {"rollback": "go back to the version before", "retrain": "retrain now"}.items():
        verb = _add_verb(verbs, name, "operate", told)
        verb.add_argument("model")
        if name == "retrain":
            _add_term(verb, "how long the wish waits for what speaks against it; a week by default")
        _add_who(verb)
    _add_orders(verbs)
    shadows = verbs.add_parser("shadows", help="what shadow policies would have done, beside the policy in force")
    shadows.set_defaults(module="shadows")
    shadows.add_argument("model")
    shadows.add_argument("--days", type=int, default=30, help="how far back; 30 by default")
    _add_url(shadows)
    notices = verbs.add_parser("notices", help="what was sent to whom of what happened, or a test of it")
    notices.set_defaults(module="notices")
    notices.add_argument("model", nargs="?")
    notices.add_argument("--test", action="store_true", help="send a test notice now; 1 where one was not taken")
    _add_url(notices)
    _add_aside(verbs)


def _add_orders(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    for kind, told in {"silence": "hide a part of a model for a while", "freeze": "retrain nothing for now"}.items():
        give = _add_verb(verbs, kind, "orders", told)
        give.add_argument("model")
        if kind == "silence":
            give.add_argument("--segment", help="a segment, or a pattern like intent=*")
            give.add_argument("--column", help="a column, or a pattern like debug_*")
        else:
            give.add_argument("--from", dest="begin", metavar="TIME", help="when it begins; now by default")
        _add_term(give, "how long, like 12h or 2d")
        _add_who(give)
        end = _add_verb(verbs, f"un{kind}", "orders", f"end a {kind} early")
        end.add_argument("model")
        end.add_argument("id", help=f"as `{kind}s` shows it")
        _add_who(end)
    listed = {"silences": "silences of a model", "freezes": "freezes of a model", "acts": "what people did to a model"}
    for name, told in listed.items():
        verb = _add_verb(verbs, name, "orders", told)
        verb.add_argument("model")
        _add_url(verb)


def _add_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, module: str, told: str
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=told)
    verb.set_defaults(module=module, verb=name)
    return verb


def _add_decisions(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    decisions = verbs.add_parser("decisions", help="the ledger: what was decided, and why; that nobody has changed it")
    decisions.set_defaults(module="decisions")
    # No verbs of their own, for `decisions MODEL` lists.
    decisions.add_argument("what", nargs="?", metavar="list|verify|export", help="what to do; to list is meant")
    decisions.add_argument("model", nargs="?", metavar="MODEL")
    decisions.add_argument("--head", default="", metavar="HASH", help="verify: a head that was noted earlier")
    decisions.add_argument("--file", type=Path, help="verify: entries that were exported; no service is asked")
    _add_url(decisions)


def _add_aside(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    aside = verbs.add_parser("aside", help="batches that could not be counted")
    aside.set_defaults(module="aside")
    what = aside.add_subparsers(dest="what", metavar="list|show|replay|discard", required=True)
    _add_url(what.add_parser("list", help="all of them, with the reasons"))
    told = {"show": "one of them, with its first rows", "replay": "put one back, to be counted", "discard": "lose one"}
    for name, text in told.items():
        verb = what.add_parser(name, help=text)
        verb.add_argument("id", help="as `list` shows it")
        (_add_who if name == "discard" else _add_url)(verb)


def _add_term(parser: argparse.ArgumentParser, told: str) -> None:
    term = parser.add_mutually_exclusive_group()
    term.add_argument("--for", dest="span", metavar="SPAN", help=told)
    term.add_argument("--until", metavar="TIME", help="the same as a date or time in UTC")


def _add_who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--who", default=_login(), help="who decides; the login name by default")
    parser.add_argument("--why", required=True, help="the reason, which the ledger keeps")
    _add_url(parser)


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _add_url(parser: argparse.ArgumentParser) -> None:
    url = os.environ.get("TIDEGATE_URL", "http://127.0.0.1:8321")
    parser.add_argument("--url", default=url, help=f"address of the service ({url}); a key comes from TIDEGATE_KEY")
    parser.add_argument("--json", action="store_true", help="print what the service answered")


if __name__ == "__main__":
    sys.exit(main())
