"""`localai-flask serve` with these arguments, but on a free port; when it is ready it lists its models, and stops."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import urllib.request
from pathlib import Path

from tests.support.server import Server


def main() -> None:
    settings = {name: value for name, value in os.environ.items() if name.startswith("LOCALAI_")}
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(None, Path(scratch), **settings)
        server.arguments = [*sys.argv[1:], "--address", f"127.0.0.1:{server.port}"]
        with server:
            headers = {"Authorization": f"Bearer {settings.get('LOCALAI_API_KEY', 'none')}"}
            with urllib.request.urlopen(urllib.request.Request(f"{server.url}/v1/models", headers=headers)) as answer:
                print(*(model["id"] for model in json.load(answer)["data"]), sep="\n")


if __name__ == "__main__":
    main()
