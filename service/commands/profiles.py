"""`tidegate profiles export`: a model's past as a file."""

import argparse
import sys

from service.commands.backtest import WAIT_SECONDS
from service.remote import Remote


def run(options: argparse.Namespace) -> int:
    """Write what the service has counted of the model to the file."""
    found = Remote(options.url, WAIT_SECONDS).get_bytes("models", options.model, "profiles", since=options.since)
    options.file.write_bytes(found)
    sys.stdout.write(f"{options.file}: the past of {options.model} since {options.since}, {len(found):,} bytes\n")
    return 0
