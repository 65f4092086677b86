"""What the contract tests know of each engine: a module here for each, found by itself.

How to add an engine:

1. A module of this folder, with an `ENGINE = Engine(...)` (`tests.contract.engine` describes the fields): how its
   tiny models are made, and their YAML. `llama_cpp.py` is the shortest one to begin with; `tests.contract.tiny_models`
   has models in GGUF and in Hugging Face's folders, whose greedy text is plain ASCII and does not end.
2. A module of the same name in `tests.contract.own_answers`, run by the interpreter of the engine's environment, in
   which the engine's library itself answers: `write`, `embed` and `score`, as far as it can. It must not import our
   engine, as it is what our engine is compared with.
3. `make test-engines ENGINES=name`.

What an engine cannot do is not written down here: the tests ask its own declaration (`Backend.takes`, and the
capabilities of the loaded model), see that it does what it declares and refuses the rest by name.
"""

from __future__ import annotations

import importlib
import pkgutil

from tests.contract.engine import Engine


def find_engines() -> dict[str, Engine]:
    """Return the descriptions by name, which is the module's with dashes."""
    modules = [importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__)]
    return {module.ENGINE.name: module.ENGINE for module in modules}
