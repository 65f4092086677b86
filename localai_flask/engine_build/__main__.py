"""The command line of the build: `python3 -m localai_flask.engine_build`."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from localai_flask.engine_build.compilers import BuildError
from localai_flask.engine_build.program import NAME, build_program
from localai_flask.engine_build.targets import TARGETS, choose_flags
from localai_flask.engine_build.wheel import install


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m localai_flask.engine_build",
        description="Build llama.cpp for this machine. CMAKE_ARGS, CC and CXX are honoured.",
    )
    parser.add_argument(
        "command",
        choices=["flags", "install", "program"],
        help="print CMAKE_ARGS for pip, build and install the engine, or build the program llama-server",
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help=f"what for: {', '.join(TARGETS)}; several for both")
    parser.add_argument("--target", metavar="FILE", type=Path, default=Path(NAME), help="where the program is put")
    parser.add_argument(
        "--source",
        metavar="SOURCE",
        default="",
        help="a folder, an archive or an address of sources of llama.cpp or of a fork; without: llama.cpp's",
    )
    parser.add_argument(
        "--quick", action="store_true", help="link the program with the installed engine, instead of building one"
    )
    given = parser.parse_args()
    try:
        if given.command == "flags":
            print(shlex.join(choose_flags(given.words)))
        elif given.command == "install":
            install(given.words)
        else:
            build_program(given.source, given.target, given.words, is_quick=given.quick)
    except BuildError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
