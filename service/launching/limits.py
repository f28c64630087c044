"""Limits: what a trainer's process may take of the machine, and what of the service's environment it may see."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from service.settings import Settings

NICENESS = 5
"""A trainer gives way to the service, which answers requests on the same machine."""
LOG_BYTES = 1_000_000
"""Of what it prints the latest one to two of these are kept."""
MOST_FILES = 100_000
"""Files in its folder: counting more of them every second would cost more than they are worth."""
_SEEN = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "ARROW_NUM_THREADS")


@dataclass(frozen=True)
class Limits:
    """The most that a trainer may take.

    `memory_bytes` and `cpu_seconds` hold for each of its processes, by the kernel (RLIMIT_DATA, which macOS does not
    enforce, and RLIMIT_CPU). `disk_bytes` holds for each file by the kernel and for its whole folder by the keeper.
    """

    memory_bytes: int
    cpu_seconds: int
    disk_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those that the operator chose."""
        return cls(
            memory_bytes=settings.trainer_memory_bytes,
            cpu_seconds=int(settings.trainer_cpu.total_seconds()),
            disk_bytes=settings.trainer_disk_bytes,
        )


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """What a trainer sees of the service's environment: where programs and the home are, the language, the threads.

    Nothing else: the store's address, access keys and secrets are there too.

    >>> clean({"PATH": "/bin", "TIDEGATE_STORE": "redis://:secret@store", "AWS_SECRET_ACCESS_KEY": "secret"})
    {'PATH': '/bin'}
    """
    return {name: environment[name] for name in (*_SEEN, *_THREADS) if name in environment}
