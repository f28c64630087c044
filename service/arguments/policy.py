"""Policies: check, explain, backtest."""

from pathlib import Path

from service.arguments.common import Verbs, add_address, add_url


def add_policy(verbs: Verbs) -> None:
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
    add_url(explain)
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
    add_address(export)


def _add_backtest(what: Verbs) -> None:
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
    add_url(backtest)
