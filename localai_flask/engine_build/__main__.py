"""The command line of the build: `python3 -m localai_flask.engine_build`."""

from __future__ import annotations

import argparse
import shlex
import sys

from localai_flask.engine_build.compilers import BuildError
from localai_flask.engine_build.targets import TARGETS, choose_flags
from localai_flask.engine_build.wheel import install


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m localai_flask.engine_build",
        description="Build llama.cpp for this machine. CMAKE_ARGS, CC and CXX are honoured.",
    )
    parser.add_argument("command", choices=["flags", "install"], help="print CMAKE_ARGS for pip, or build and install")
    parser.add_argument("words", nargs="*", metavar="WORD", help=f"what for: {', '.join(TARGETS)}; several for both")
    given = parser.parse_args()
    try:
        if given.command == "flags":
            print(shlex.join(choose_flags(given.words)))
        else:
            install(given.words)
    except BuildError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
