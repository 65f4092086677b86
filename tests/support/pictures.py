"""Small images of noise, and prompts that have some."""

from __future__ import annotations

import hashlib
import io

import msgspec
import numpy as np
import PIL.Image

from localai_flask.generation import Image, Prompt


def noise(seed: int = 0, width: int = 40, height: int = 24, kind: str = "PNG") -> bytes:
    """Return the file of an image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def as_image(data: bytes, width: int = 0, height: int = 0, kind: str = "PNG") -> Image:
    """Make what a prompt has of a file; without a size, that is read from it."""
    if not width:
        with PIL.Image.open(io.BytesIO(data)) as opened:
            width, height = opened.size
    return Image(0, data, f"image/{kind.lower()}", width, height, hashlib.sha256(data).hexdigest())


def picture(seed: int = 0, width: int = 40, height: int = 24) -> Image:
    return as_image(noise(seed, width, height), width, height)


def showing(text: str, *images: Image) -> Prompt:
    """Make a prompt with an image at each `@`."""
    pieces = text.split("@")
    ends = [sum(map(len, pieces[: number + 1])) for number in range(len(images))]
    placed = [msgspec.structs.replace(image, at=end) for image, end in zip(images, ends, strict=True)]
    return Prompt("".join(pieces), images=placed)
