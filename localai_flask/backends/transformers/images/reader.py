"""From a prompt's images to tokens and to what the model's encoder makes of them; an image is encoded once."""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import PIL.Image
import torch
from torch import Tensor

from localai_flask.backends.hugging_face.image_prompts import find_placeholder, with_placeholders
from localai_flask.backends.hugging_face.tokens import Tokens
from localai_flask.backends.images import open_image
from localai_flask.backends.transformers.images.seen import DEEPER, SeenImage, SeenPrompt
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Image, Prompt

KEPT_BYTES = 256 << 20
"""How much of what was encoded is kept for prompts to come, such as the next turns of a conversation."""
PROBE_SIZE = (32, 48)
SHAPES = ("_grid_thw", "_sizes")
"""How the names of inputs end that tell an image's shape, by which some models count positions."""
KINDS = ("token_type_ids", "mm_token_type_ids")


class ImageReader:
    """Reads images for one model; used by several threads, of which one encodes."""

    def __init__(self, model: Any, processor: Any, tokens: Tokens):
        self.model = model
        self.token: int = model.config.image_token_id
        """The token that stands for each vector of an image."""
        self._processor = processor
        self._tokens = tokens
        self._mark = str(processor.image_token)
        self._placeholder = find_placeholder(processor, chat_template(processor), self._mark)
        self._takes = inspect.signature(model.base_model.get_image_features).parameters
        self._lock, self._busy = threading.Lock(), threading.Lock()
        self._kept: OrderedDict[str, SeenImage] = OrderedDict()

    def open(self, prompt: Prompt) -> list[SeenImage]:
        """Turn each image of a prompt into what the encoder reads; raise `InvalidRequest` for one that breaks."""
        return [self._seen(image) for image in prompt.images]

    def read(self, prompt: Prompt, images: list[SeenImage]) -> SeenPrompt:
        """Turn a prompt into tokens; raise `InvalidRequest` if it has marks of images beside these.

        For the thread that has the tokenizer.
        """
        ids = self._tokens.encode(with_placeholders(prompt, [image.text for image in images]))
        if ids.count(self.token) != sum(self._count(image) for image in images):
            raise InvalidRequest(
                f"The messages' text has {self._mark}, by which this model knows its images; leave it out.",
                param="messages",
            )
        return SeenPrompt(ids, images)

    def _count(self, image: SeenImage) -> int:
        """Return how many of an image's tokens stand for vectors."""
        ids = self._tokens.tokenizer.encode(image.text, add_special_tokens=False, verbose=False)
        return int(ids.count(self.token))

    def _seen(self, image: Image) -> SeenImage:
        with self._lock:
            if (found := self._kept.get(image.digest)) is not None:
                self._kept.move_to_end(image.digest)
                return found
        seen = self.process(open_image(image))
        with self._lock:
            seen = self._kept.setdefault(image.digest, seen)
        self.forget_oldest()
        return seen

    def process(self, image: PIL.Image.Image) -> SeenImage:
        """Have the processor resize and normalize an image; raise `InvalidRequest` if it cannot."""
        try:
            with self._busy:
                made = self._processor(
                    text=[self._mark], images=[image], return_tensors="pt", return_text_replacement_offsets=True
                )
        except (ValueError, ZeroDivisionError) as error:  # an image of one pixel's width, and the like
            raise InvalidRequest(f"An image cannot be read by this model: {error}", param="messages") from error
        (marked,) = made["text_replacement_offsets"][0]
        text = self._placeholder.replace(self._mark, marked["replacement"], 1)
        device = self.model.device
        return SeenImage(text, {key: value.to(device) for key, value in made.items() if isinstance(value, Tensor)})

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def encode(self, images: Iterable[SeenImage]) -> None:
        """Have the model's encoder read images that it has not read yet."""
        for image in images:
            if image.output is None:
                wanted = {key: value for key, value in image.inputs.items() if key in self._takes}
                for key, value in wanted.items():
                    if value.is_floating_point():
                        wanted[key] = value.to(self.model.dtype)
                made = self.model.base_model.get_image_features(**wanted, return_dict=True)
                image.inputs = {key: value for key, value in image.inputs.items() if key.endswith(SHAPES)}
                image.output = _shortened(made)
        self.forget_oldest()

    def forget_oldest(self, most: int = KEPT_BYTES) -> None:
        """Keep the images that were wanted last; who still needs one of the others has it."""
        with self._lock:
            sizes = [image.bytes for image in self._kept.values()]
            left = sum(sizes)
            for size in sizes:
                if left <= most:
                    break
                self._kept.popitem(last=False)
                left -= size

    @property
    def kept_bytes(self) -> int:
        """How much memory the images take that are kept for prompts to come."""
        with self._lock:
            return sum(image.bytes for image in self._kept.values())

    def probe(self) -> SeenPrompt:
        """Return a prompt of an image and a few tokens, by which a model is tried."""
        image = self.process(PIL.Image.effect_noise(PROBE_SIZE, 64).convert("RGB"))
        self.encode([image])
        ids = self._tokens.tokenizer.encode(image.text, add_special_tokens=False, verbose=False)
        return SeenPrompt([0, *ids, 1, 2, 3], [image])

    def model_inputs(self, seen: SeenPrompt) -> dict[str, Any]:
        """Return what the model's first pass takes beside the tokens, for images that are encoded."""
        joined: dict[str, Any] = {"mm_encoder_outputs": {"image": join([image.output for image in seen.images])}}
        for key in seen.images[0].inputs:
            joined[key] = torch.cat([image.inputs[key] for image in seen.images])
        return joined | self.kinds(seen)

    def kinds(self, seen: SeenPrompt) -> dict[str, Tensor]:
        """Return the arguments by which the model knows which tokens stand for images, where it has any."""
        kinds = torch.tensor([[int(token == self.token) for token in seen.ids]], device=self.model.device)
        takes = inspect.signature(self.model.forward).parameters
        return {name: kinds for name in KINDS if name in takes}

    def positions(self, seen: SeenPrompt) -> Tensor | None:
        """Return the tokens' positions, in as many dimensions as the model counts; None if it is not told them."""
        if "position_ids" not in inspect.signature(self.model.forward).parameters:
            return None
        ids = torch.tensor([seen.ids], device=self.model.device)
        found: Tensor = self.model._prepare_position_ids_for_generation(ids, self.model_inputs(seen))
        return found


def _shortened(output: Any) -> Any:
    """Leave out what only the encoder itself needs."""
    kept = {key: output[key] for key in ("pooler_output", DEEPER) if output.get(key) is not None}
    return type(output)(**kept)


def join(outputs: list[Any]) -> Any:
    """Make one output of those of several images, in the shape in which the encoder gives them."""
    if len(outputs) == 1:
        return outputs[0]
    joined = {"pooler_output": _joined([each.pooler_output for each in outputs])}
    if outputs[0].get(DEEPER) is not None:
        joined[DEEPER] = [_joined([*layer]) for layer in zip(*(each[DEEPER] for each in outputs), strict=True)]
    return type(outputs[0])(**joined)


def _joined(features: list[Any]) -> Any:
    if isinstance(features[0], Tensor):
        return torch.cat(features)
    return [each for several in features for each in several]


def chat_template(processor: Any) -> str | None:
    """Return a processor's chat template for conversations without tools, its tokenizer's where it has none."""
    templates = processor.chat_template or processor.tokenizer.chat_template
    return templates.get("default") if isinstance(templates, dict) else templates
