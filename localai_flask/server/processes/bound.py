"""Becomes a program that ends with its parent, however that ends: `python -m` this, with the parent's pid before it.

The kernel's wish for that (`PR_SET_PDEATHSIG`) has to be made in the child, and survives the change of program.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: str, program: str, *arguments: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == int(parent):  # else it has ended before the wish was made
        os.execv(program, [program, *arguments])


if __name__ == "__main__":
    main(*sys.argv[1:])
