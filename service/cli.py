"""The command line: `tidegate`. Each command's code is imported when it runs, so that `--help` answers at once."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from service.arguments.operations import add_operations
from service.arguments.policy import add_policy
from service.arguments.serving import add_files, add_imports, add_serving, add_training
from service.errors import ServiceError
from service.settings import Settings

_FLAGS = ("store", "data_dir", "policies", "archive", "durability", "role", "host", "port")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 when all is well, 1 when something is wrong, 2 for unusable arguments."""
    options = parser_of_commands().parse_args(arguments)
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


def parser_of_commands() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tidegate", description="Drift per segment → policy → gated retraining → release or rollback."
    )
    parser.set_defaults(quiet_log=True)
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_serving(verbs)
    add_files(verbs)
    add_imports(verbs)
    add_policy(verbs)
    add_operations(verbs)
    add_training(verbs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
