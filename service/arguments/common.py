"""What several commands take."""

import argparse
import getpass
import os
from typing import TypeAlias

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  its only name
"""Where a command is added."""


def add_verb(verbs: Verbs, name: str, module: str, told: str) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=told)
    verb.set_defaults(module=module, verb=name)
    return verb


def add_url(parser: argparse.ArgumentParser) -> None:
    add_address(parser)
    parser.add_argument("--json", action="store_true", help="print what the service answered")


def add_address(parser: argparse.ArgumentParser) -> None:
    url = os.environ.get("TIDEGATE_URL", "http://127.0.0.1:8321")
    parser.add_argument("--url", default=url, help=f"address of the service ({url}); a key comes from TIDEGATE_KEY")


def add_who(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--who", default=_login(), help="who decides; the login name by default")
    parser.add_argument("--why", required=required, help="the reason, which the ledger keeps")
    add_url(parser)


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
