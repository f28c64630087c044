"""`tidegate serve`."""

import argparse

from service.cli import settings_of
from service.serve import serve


def run(options: argparse.Namespace) -> int:
    """Run the service until it is told to stop."""
    serve(settings_of(options))
    return 0
