"""`tidegate demo`."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from service.demo.story import run_demo


def run(options: argparse.Namespace) -> int:
    """Tell the story; then serve the console, where somebody is at a terminal."""
    data_dir = Path(options.data_dir) if options.data_dir else None
    serve = not options.no_serve and sys.stdout.isatty()
    return run_demo(Console(), data_dir, serve=serve, host=options.host, port=int(options.port))
