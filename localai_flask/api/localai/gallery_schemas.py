"""The bodies of requests about models of galleries and of the models folder, and the calls they become.

A field that nobody knows is refused, with the nearest name: here it would change what is installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import marshmallow
from marshmallow import ValidationError

from localai_flask.api.request.fields import Flag, Many, Mapping, Noted, Object, StrictSchema, Text, not_empty
from localai_flask.config.model_yaml import yamlfile
from localai_flask.gallery.index.entries import MOST_PARTS, EntryFile
from localai_flask.gallery.models.request import InstallRequest

MOST_FILES = 200
DESCRIBES = "describes the model to people, and is taken from the gallery"


class FileSchema(StrictSchema):
    """A file by its `uri`; or one that is joined of `parts`, or a folder that is unpacked of a zip archive."""

    uri = Text(load_default="")
    filename = Text(load_default="")
    sha256 = Text(load_default="")
    parts = Many(Text(), most=MOST_PARTS, load_default=list)
    unpack = Flag(load_default=False)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> EntryFile:
        return EntryFile(**{**data, "parts": tuple(data["parts"])})


class Configuration(Mapping):
    """An object, or YAML as text, as it stands in LocalAI's documents."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, str):
            try:
                value = _with_text_keys(yamlfile.parse(value))
            except ValueError as error:
                raise ValidationError(f"is no YAML: {error}.") from None
        return super()._deserialize(value, *args, **kwargs)


def _with_text_keys(value: Any) -> Any:
    """Return what YAML holds with keys as JSON has them; raise `ValueError` for those that it cannot have."""
    if isinstance(value, list):
        return [_with_text_keys(each) for each in value]
    if not isinstance(value, dict):
        return value
    for key in value:
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise ValueError(f"the key {key} is no text")
    return {str(key): _with_text_keys(each) for key, each in value.items()}


class ApplyRequest(StrictSchema):
    """`id` names a gallery's model, `url` the address of a document, a model's YAML or a model; or neither."""

    id = Text(load_default="")
    url = Text(load_default="")
    config_url = Text(metadata={"description": "LocalAI's older word for `url`."})
    name = Text(load_default="")
    variant = Text(load_default="")
    config_file = Configuration(load_default=dict, metadata={"type": ["object", "string"]})
    overrides = Mapping(load_default=dict)
    files = Many(Object(FileSchema), most=MOST_FILES, load_default=list)
    force = Flag(load_default=False)
    description = Noted(DESCRIBES)
    license = Noted(DESCRIBES)
    urls = Noted(DESCRIBES)
    icon = Noted(DESCRIBES)
    tags = Noted(DESCRIBES)
    gallery = Noted(DESCRIBES)
    installed = Noted(DESCRIBES)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> InstallRequest:
        kept = {key: data[key] for key in ("id", "name", "variant", "config_file", "overrides", "force")}
        return InstallRequest(**kept, url=data["url"] or data.get("config_url", ""), files=tuple(data["files"]))


class PreferencesSchema(StrictSchema):
    """What an imported model is to be like, as LocalAI's page asks it."""

    name = Text(load_default="")
    description = Text(load_default="")
    backend = Text(load_default="")
    quantizations = Text(load_default="", metadata={"description": "The quantization to take, as in Q4_K_M."})
    embeddings = Flag()
    reranking = Flag()


class ImportRequest(StrictSchema):
    uri = Text(required=True, validate=not_empty())
    preferences = Object(PreferencesSchema, load_default=dict)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> InstallRequest:
        wishes = dict(data["preferences"])
        name, quantization = wishes.pop("name", ""), wishes.pop("quantizations", "")
        suffix = f":{quantization.partition(',')[0].strip()}" if quantization else ""
        overrides = {key: value for key, value in wishes.items() if value != ""}
        return InstallRequest(id=data["uri"] + suffix, name=name, overrides=overrides)


@dataclass(frozen=True, slots=True)
class ModelCall:
    model: str


class ModelRequest(StrictSchema):
    """What llama-server's clients send about one model."""

    model = Text(required=True, validate=not_empty())

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> ModelCall:
        return ModelCall(data["model"])
