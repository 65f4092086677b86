"""`python -m tests.contract.own_answers MODULE VERB`: the arguments as JSON on standard input, the answer in a file.

Libraries print what they like; so the answer goes to the file that is named third.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    module, verb, answer = sys.argv[1:]
    arguments = json.load(sys.stdin)
    found = getattr(importlib.import_module(f"tests.contract.own_answers.{module}"), verb)(**arguments)
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":  # vLLM starts processes that import this again
    main()
