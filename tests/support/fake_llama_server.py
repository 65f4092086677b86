"""A llama-server without a model, in the words of the stock program or of an older fork: it says its prompt again.

Its tokens are bytes. What it is to do wrong stands in the prompt: `die` ends it after three tokens, `break` hangs up.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HELP = """usage: llama-server [options]

-m,    --model FNAME                    model path to load
-c,    --ctx-size N                     size of the prompt context (default: 0, 0 = loaded from model)
-np,   --parallel N                     number of server slots (default: -1, -1 = auto)
-ctk,  --cache-type-k TYPE              KV cache data type for K
                                        allowed values: f16, q8_0, turbo3
"""
CONTROL = "<|im_end|>"


def write_program(path: Path, dialect: str = "stock") -> Path:
    """Make the program; `dialect` is "stock" or "fork"."""
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} {dialect} "$@"\n')
    path.chmod(0o755)
    return path


class Handler(BaseHTTPRequestHandler):
    dialect = "stock"
    key = ""

    def do_GET(self) -> None:
        answers: dict[str, Any] = {"/health": {"status": "ok"}, "/props": {"chat_template": "{{ messages }}"}}
        self._answer(answers[self.path])

    def do_POST(self) -> None:
        if self.headers["Authorization"] != f"Bearer {self.key}":
            self._answer({"error": {"message": "Invalid API Key", "code": 401}}, 401)
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            self._answer({"tokens": self._tokens(body)})
        elif self.path == "/detokenize":
            self._answer({"content": bytes(body["tokens"]).decode()})
        elif self.path == "/completion":
            self._complete(body)

    def _tokens(self, body: dict[str, Any]) -> list[Any]:
        special = self.dialect == "fork" or body.get("parse_special", True)
        parts = body["content"].split(CONTROL) if special else [body["content"]]
        tokens = [*parts[0].encode()]
        for part in parts[1:]:
            tokens += [256, *part.encode()]
        return tokens

    def _complete(self, body: dict[str, Any]) -> None:
        prompt = body["prompt"]
        if body.get("grammar") == "broken":
            self._answer({"error": {"message": "failed to parse grammar", "code": 400}}, 400)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        text = bytes(token for token in prompt if token < 256).decode()
        count = min(len(text), body["n_predict"])
        for number, character in enumerate(text[:count], 1):
            if number == 4 and text.startswith("die"):
                os._exit(9)
            if number == 4 and text.startswith("break"):
                return
            if text.startswith("slow"):
                time.sleep(0.02)
            self._event({"content": character, "stop": False} | self._seen(number, character, len(prompt)))
        self._event({"content": "", "stop": True, "tokens_predicted": count} | self._ended(count == len(text)))

    def _seen(self, number: int, character: str, prompt: int) -> dict[str, Any]:
        if self.dialect == "fork":
            return {"id_slot": 0, "multimodal": False}
        return {"tokens": [*character.encode()][-1:], "tokens_predicted": number, "tokens_evaluated": prompt}

    def _ended(self, by_itself: bool) -> dict[str, Any]:
        if self.dialect == "fork":
            return {"stopped_eos": by_itself, "stopped_limit": not by_itself, "stopped_word": False, "timings": {}}
        return {"stop_type": "eos" if by_itself else "limit", "timings": {"cache_n": 2}}

    def _event(self, event: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.flush()

    def _answer(self, body: Any, status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def main(dialect: str, *arguments: str) -> None:
    if "--help" in arguments:
        print(HELP)
    elif "--version" in arguments:
        print("version: 7 (fake)")
    else:
        given = dict(zip(arguments[::2], arguments[1::2], strict=False))
        Handler.dialect, Handler.key = dialect, Path(given["--api-key-file"]).read_text()
        ThreadingHTTPServer((given["--host"], int(given["--port"])), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
