"""Models in registries of container images: Ollama's, Docker's, and files of any other that have their names written.

The layers' media types say what each is: https://github.com/ollama/ollama, https://github.com/docker/model-spec,
https://github.com/modelpack/model-spec. Images that are file systems are not unpacked.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import requests

from localai_flask.config.references import Reference
from localai_flask.config.references.reference import find_fault
from localai_flask.gallery.errors import NotOffered
from localai_flask.gallery.sources.access import Access
from localai_flask.gallery.sources.offer import Offer, RemoteFile
from localai_flask.gallery.sources.ollama_layers import read_overrides
from localai_flask.gallery.sources.registry_client import Registry, open_registry_session

KINDS = (
    ("model", r"application/vnd\.ollama\.image\.model|application/vnd\.docker\.ai\.gguf.*"),
    ("mmproj", r"application/vnd\.ollama\.image\.projector|application/vnd\.docker\.ai\.mmproj.*"),
    ("adapter", r"application/vnd\.ollama\.image\.adapter|application/vnd\.docker\.ai\.lora.*"),
    ("params", r"application/vnd\.ollama\.image\.params"),
    ("system", r"application/vnd\.ollama\.image\.system"),
)
MACHINES = ("", "unknown", "amd64")
TITLES = ("org.opencontainers.image.title", "org.cncf.model.filepath")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Layer(NamedTuple):
    kind: str
    """One of `KINDS`, or "" for what is not needed."""
    digest: str
    size: int
    title: str


def look_up(reference: Reference, access: Access) -> Offer:
    """Find the layers that make a model; raise `NotOffered` if an image has none, or is none."""
    registry = Registry(reference.host, reference.repo, private_addresses=access.private_addresses)
    manifest = _read_manifest(registry, reference.revision)
    layers = [_read_layer(layer, reference) for layer in _list(manifest.get("layers"))]
    models = [layer for layer in layers if layer.kind == "model"]
    if not models:
        raise NotOffered(
            f"{reference.text} has no layer with a GGUF file, so it is no model to run here; images that are file "
            "systems are not unpacked."
        )
    names = _names(reference, models)
    wanted = list(zip(names, models, strict=True))
    beside = {kind: next((layer for layer in layers if layer.kind == kind), None) for kind in ("mmproj", "adapter")}
    others = {kind: f"{reference.stem}-{kind}.gguf" for kind, layer in beside.items() if layer}
    wanted += [(others[kind], layer) for kind, layer in beside.items() if layer]
    overrides = read_overrides(registry, {layer.kind: layer.digest for layer in layers})
    if "adapter" in others:
        overrides["lora_adapter"] = others["adapter"]
    return Offer(
        name=reference.stem,
        files=tuple(_file(reference, registry, name, layer, access) for name, layer in wanted),
        model=names[0],
        mmproj=others.get("mmproj"),
        note=_note(manifest, registry, models),
        overrides=overrides,
    )


def connect(file: RemoteFile) -> requests.Session:
    """Open a session that fetches the registry's tokens as it asks for them: they expire during large downloads."""
    return open_registry_session(file.url, private_addresses=file.private_addresses)


def _read_manifest(registry: Registry, tag: str) -> dict[str, Any]:
    """Read the manifest, through a list of several for different machines if there is one."""
    manifest = registry.read_manifest(tag)
    listed = [each for each in _list(manifest.get("manifests")) if _DIGEST.fullmatch(str(each.get("digest")))]
    if not listed:
        return manifest
    chosen = next((each for each in listed if _architecture(each) in MACHINES), listed[0])
    return registry.read_manifest(str(chosen["digest"]))


def _architecture(listed: dict[str, Any]) -> str:
    platform = listed.get("platform")
    return str(platform.get("architecture", "")) if isinstance(platform, dict) else ""


def _read_layer(layer: dict[str, Any], reference: Reference) -> Layer:
    annotations = layer.get("annotations")
    known = annotations if isinstance(annotations, dict) else {}
    title = next((str(known[key]) for key in TITLES if key in known), "")
    media_type, digest, size = str(layer.get("mediaType")), str(layer.get("digest")), layer.get("size")
    if not _DIGEST.fullmatch(digest) or not isinstance(size, int) or size < 0:
        raise NotOffered(f"The manifest of {reference.text} has a layer without a sha256 digest and a size.")
    kind = next((kind for kind, pattern in KINDS if re.fullmatch(pattern, media_type)), "")
    if not kind and title.lower().endswith(".gguf") and not media_type.endswith(("+gzip", ".tar", "+zstd")):
        kind = "mmproj" if "mmproj" in title.lower() else "model"
    return Layer(kind, digest, size, title)


def _names(reference: Reference, models: list[Layer]) -> list[str]:
    """Name the model's files as its layers are called, or by the reference; the parts of a split model as parts."""
    titles = [layer.title.rpartition("/")[2] for layer in models]
    if all(title.lower().endswith(".gguf") and not find_fault(title) for title in titles) and len(set(titles)) == len(
        titles
    ):
        return titles
    if len(models) == 1:
        return [f"{reference.stem}.gguf"]
    return [f"{reference.stem}-{number:05}-of-{len(models):05}.gguf" for number in range(1, len(models) + 1)]


def _file(reference: Reference, registry: Registry, name: str, layer: Layer, access: Access) -> RemoteFile:
    if fault := find_fault(name):
        raise NotOffered(f"{reference.text} has a file {name!r}, which {fault}.")
    return RemoteFile(
        path=name,
        url=registry.blob_url(layer.digest),
        size=layer.size,
        sha256=layer.digest.removeprefix("sha256:"),
        source=reference.scheme,
        private_addresses=access.private_addresses,
    )


def _note(manifest: dict[str, Any], registry: Registry, models: list[Layer]) -> str:
    """Return which quantization a tag stands for, as the image's own description has it; "" if it has none."""
    config = manifest.get("config")
    digest = config.get("digest") if isinstance(config, dict) else None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        return ""
    described = registry.read_json(digest)
    inner = described.get("config")
    inner = inner if isinstance(inner, dict) else {}
    quantization = described.get("file_type") or inner.get("quantization")
    parts = f" in {len(models)} parts" if len(models) > 1 else ""
    return f"{quantization}{parts}: what the tag stands for" if isinstance(quantization, str) and quantization else ""


def _list(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
