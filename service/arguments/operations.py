"""Operations on a running service."""

import argparse
from pathlib import Path

from service.arguments.common import Verbs, add_url, add_verb, add_who


def add_operations(verbs: Verbs) -> None:
    status = add_verb(verbs, "status", "operate", "states of all models, or the segments of one")
    status.add_argument("model", nargs="?")
    add_url(status)
    retrainings = verbs.add_parser("retrainings", help="retrainings and what came of them; one as it goes on")
    retrainings.set_defaults(module="retrainings")
    retrainings.add_argument("model", nargs="?", metavar="MODEL|ID")
    retrainings.add_argument("--follow", action="store_true", help="tell what is new until it ends")
    retrainings.add_argument("--report", action="store_true", help="the model report of one, as Markdown")
    add_url(retrainings)
    _add_decisions(verbs)
    add_url(add_verb(verbs, "approvals", "operate", "what awaits a person's yes, and what it would start"))
    answers = {
        "approve": "agree to a retraining that was proposed",
        "reject": "refuse a retraining that was proposed",
        "cancel": "end a retraining that waits or runs",
    }
    for name, told in answers.items():
        verb = add_verb(verbs, name, "operate", told)
        verb.add_argument("id", help="as `retrainings` shows it" if name == "cancel" else "as `approvals` shows it")
        _add_term(verb, "how long the answer counts, like 12h; a day by default")
        add_who(verb)
    for name, told in {"rollback": "go back to the version before", "retrain": "retrain now"}.items():
        verb = add_verb(verbs, name, "operate", told)
        verb.add_argument("model")
        if name == "retrain":
            _add_term(verb, "how long the wish waits for what speaks against it; a week by default")
        add_who(verb)
    _add_orders(verbs)
    _add_failures(verbs)
    shadows = verbs.add_parser("shadows", help="what shadow policies would have done, beside the policy in force")
    shadows.set_defaults(module="shadows")
    shadows.add_argument("model")
    shadows.add_argument("--days", type=int, default=30, help="how far back; 30 by default")
    add_url(shadows)
    notices = verbs.add_parser("notices", help="what was sent to whom of what happened, or a test of it")
    notices.set_defaults(module="notices")
    notices.add_argument("model", nargs="?")
    notices.add_argument("--test", action="store_true", help="send a test notice now; 1 where one was not taken")
    add_url(notices)
    _add_aside(verbs)


def _add_orders(verbs: Verbs) -> None:
    for kind, told in {"silence": "hide a part of a model for a while", "freeze": "retrain nothing for now"}.items():
        give = add_verb(verbs, kind, "orders", told)
        give.add_argument("model")
        if kind == "silence":
            give.add_argument("--segment", help="a segment, or a pattern like intent=*")
            give.add_argument("--column", help="a column, or a pattern like debug_*")
        else:
            give.add_argument("--from", dest="begin", metavar="TIME", help="when it begins; now by default")
        _add_term(give, "how long, like 12h or 2d")
        add_who(give)
        end = add_verb(verbs, f"un{kind}", "orders", f"end a {kind} early")
        end.add_argument("model")
        end.add_argument("id", help=f"as `{kind}s` shows it")
        add_who(end)
    listed = {"silences": "silences of a model", "freezes": "freezes of a model", "acts": "what people did to a model"}
    for name, told in listed.items():
        verb = add_verb(verbs, name, "orders", told)
        verb.add_argument("model")
        add_url(verb)


def _add_decisions(verbs: Verbs) -> None:
    decisions = verbs.add_parser("decisions", help="the ledger: what was decided, and why; that nobody has changed it")
    decisions.set_defaults(module="decisions")
    # No verbs of their own, for `decisions MODEL` lists.
    decisions.add_argument("what", nargs="?", metavar="list|verify|export", help="what to do; to list is meant")
    decisions.add_argument("model", nargs="?", metavar="MODEL")
    decisions.add_argument("--head", default="", metavar="HASH", help="verify: a head that was noted earlier")
    decisions.add_argument("--file", type=Path, help="verify: entries that were exported; no service is asked")
    add_url(decisions)


def _add_failures(verbs: Verbs) -> None:
    failures = verbs.add_parser("failures", help="what goes wrong, ranked; who works on it")
    failures.set_defaults(module="failures")
    failures.add_argument("model")
    failures.add_argument("--id", help="one category, as the list shows it")
    failures.add_argument("--owner", help="say who works on it")
    failures.add_argument("--state", help="say that it is open, acknowledged, being_fixed, fixed or accepted")
    failures.add_argument("--note", help="say what else should be known of it")
    failures.add_argument("--severity", type=float, help="say what an error of it costs, from 0.1 to 10; 1 is as usual")
    failures.add_argument("--release", metavar="VERSION", help="with --state fixed: the version that fixes it")
    add_who(failures, required=False)


def _add_aside(verbs: Verbs) -> None:
    aside = verbs.add_parser("aside", help="batches that could not be counted")
    aside.set_defaults(module="aside")
    what = aside.add_subparsers(dest="what", metavar="list|show|replay|discard", required=True)
    add_url(what.add_parser("list", help="all of them, with the reasons"))
    told = {"show": "one of them, with its first rows", "replay": "put one back, to be counted", "discard": "lose one"}
    for name, text in told.items():
        verb = what.add_parser(name, help=text)
        verb.add_argument("id", help="as `list` shows it")
        (add_who if name == "discard" else add_url)(verb)


def _add_term(parser: argparse.ArgumentParser, told: str) -> None:
    term = parser.add_mutually_exclusive_group()
    term.add_argument("--for", dest="span", metavar="SPAN", help=told)
    term.add_argument("--until", metavar="TIME", help="the same as a date or time in UTC")
