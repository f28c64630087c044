"""Runs a program that dies with its parent (Linux): python tether.py PARENT_PID PROGRAM ARG...

A file of its own, run without site packages: doing this between fork and exec inside a threaded service could deadlock.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for SIGTERM at the parent's death, then become the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(sys.argv[1]):
            sys.exit("the parent is already gone")
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606  the arguments are our own


if __name__ == "__main__":
    main()
