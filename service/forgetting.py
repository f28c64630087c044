"""Forgetting: rows that were copied from the archive leave this machine's disk when the archive's have their time."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path

_COPIES = ("retrainings/**/*.parquet", "retrainings/*/sent/*/*", "evidence/*/*.parquet")
"""What was trained on, sent by trainers, reported of. Models, manifests and the reports themselves stay."""


def forget_copies(data_dir: Path, before: datetime) -> int:
    """Delete copies of rows that were made before this moment. Gives how many files that were."""
    gone = 0
    for pattern in _COPIES:
        for file in data_dir.glob(pattern):
            with suppress(FileNotFoundError):
                if file.stat().st_mtime < before.timestamp():
                    file.unlink()
                    gone += 1
    return gone
