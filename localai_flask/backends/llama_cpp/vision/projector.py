"""The projector of a model that sees: llama.cpp's mtmd, which cuts images into chunks and encodes them.

Owns the C object and the sentences for files that do not fit. Knows no jobs; one thread uses it.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from localai_flask.backends.images import open_image
from localai_flask.backends.llama_cpp.model.context import uses_gpu
from localai_flask.backends.llama_cpp.model.library import LogCapture, lib, log_callback
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.backends.llama_cpp.vision.chunks import ImageChunk, Part, Tokens, make_chunk
from localai_flask.config.files.gguf import inspect
from localai_flask.errors import ConfigError, InvalidRequest, ModelLoadFailed
from localai_flask.generation import Image
from localai_flask.machine import physical_cores

try:
    from llama_cpp import mtmd_cpp as mtmd
except (ImportError, RuntimeError, OSError) as error:  # a build of llama-cpp-python may leave it out
    raise ModelLoadFailed(
        f"llama-cpp-python was built without mtmd, by which llama.cpp reads images: {error}; install it anew."
    ) from error

Embedding = npt.NDArray[np.float32]

KIND = "mmproj"
MISFIT = "mismatch between text model"
CONTEXT_BOUND = ("hunyuanvl", "deepseek4v")
"""Projectors whose chunks depend on what stands before them, so that they cannot be told by an image's content."""
MOST_PIXELS = 16_000_000
PROBES = (4096, 4096), (4096, 1024), (1024, 4096), (512, 512)
"""Sizes of images for which tokens are counted to find out how many a chunk may have."""


class Projector:
    """Makes of images what one language model reads."""

    def __init__(self, path: Path, model: Any, options: EngineOptions, capture: LogCapture):
        """Load the file for a model; raise `ConfigError` or `ModelLoadFailed` with one sentence."""
        self.path, self._capture = path, capture
        self._width: int = lib.llama_model_n_embd_inp(model)
        params = mtmd.mtmd_context_params_default()
        params.use_gpu = options.mmproj_use_gpu and uses_gpu(options)
        params.print_timings = params.warmup = False
        params.n_threads = options.threads_batch or physical_cores()
        params.image_min_tokens = options.image_min_tokens or -1
        params.image_max_tokens = options.image_max_tokens or -1
        capture.errors.clear()
        mtmd.mtmd_log_set(log_callback(), None)
        self._context = mtmd.mtmd_init_from_file(str(path).encode(), model, params)
        if not self._context:
            raise _load_failure(path, capture.cause())
        self._uses_mrope = bool(mtmd.mtmd_decode_use_mrope(self._context))
        self.is_causal = not mtmd.mtmd_decode_use_non_causal(self._context, None)
        """Whether a token of an image attends to those before it alone; if not, a chunk is computed as a whole."""
        stat, limits = path.stat(), (options.image_min_tokens, options.image_max_tokens)
        seal = f"{path.name} {stat.st_size} {stat.st_mtime_ns} {limits}"
        self._seal = hashlib.sha256(seal.encode()).digest()
        """What beside an image's content decides what is made of it."""
        self.longest = 0 if self.is_causal else max(self._count(width, height) for width, height in PROBES)
        """The most tokens of a chunk that is computed as a whole."""

    def close(self) -> None:
        mtmd.mtmd_free(self._context)

    def cut(self, image: Image) -> list[Part]:
        """Cut an image into the parts that stand for it; raise `InvalidRequest` if it is broken."""
        with _Cut(self._context, image) as cut:
            return self._parts(cut, bytes.fromhex(image.digest) + self._seal)

    def see(self, image: Image) -> tuple[list[Part], list[Embedding]]:
        """Cut an image, and encode its chunks, which takes from milliseconds to minutes."""
        with _Cut(self._context, image) as cut:
            parts = self._parts(cut, bytes.fromhex(image.digest) + self._seal)
            return parts, [self._encode(chunk) for chunk in cut.images]

    def _parts(self, cut: _Cut, key: bytes) -> list[Part]:
        parts: list[Part] = []
        for number, chunk in enumerate(cut.chunks):
            if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
                parts.append(self._text(chunk))
            else:
                parts.append(self._image(chunk, key + bytes([number % 256, number // 256])))
        return parts

    def _text(self, chunk: int) -> list[int]:
        count = ctypes.c_size_t()
        tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
        text: list[int] = tokens[: count.value]
        if min(text, default=0) < 0:
            raise ConfigError(
                f"The projector {self.path} puts marks around images that the model's vocabulary does not have; "
                "use the projector that was made for this model.",
                param="mmproj",
            )
        return text

    def _image(self, chunk: int, key: bytes) -> ImageChunk:
        count = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
        if not self._uses_mrope:
            return make_chunk(key, count, np.arange(count, dtype=np.int32)[None], count)
        places = (mtmd.mtmd_decoder_pos * count)()
        mtmd.mtmd_helper_image_get_decoder_pos(mtmd.mtmd_input_chunk_get_tokens_image(chunk), 0, places)
        array: Tokens = np.frombuffer(places, np.int32).reshape(count, 4)
        # The library wants them in the order of time, height and width.
        positions = np.ascontiguousarray(array[:, [0, 2, 1, 3]].T)
        return make_chunk(key, count, positions, mtmd.mtmd_input_chunk_get_n_pos(chunk))

    def _encode(self, chunk: int) -> Embedding:
        if mtmd.mtmd_encode_chunk(self._context, chunk) != 0:
            raise InvalidRequest("An image cannot be encoded; see the server's log.", param="messages")
        count = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
        output = mtmd.mtmd_get_output_embd(self._context)
        return np.ctypeslib.as_array(output, (count, self._width)).copy()

    def _count(self, width: int, height: int) -> int:
        """Count the tokens of the largest chunk of an image of a size, without one."""
        with _Cut(self._context, None, (width, height)) as cut:
            return max(int(mtmd.mtmd_input_chunk_get_n_tokens(chunk)) for chunk in cut.images)


class _Cut:
    """The chunks of an image, as long as they are looked at."""

    def __init__(self, context: Any, image: Image | None, size: tuple[int, int] = (0, 0)):
        pixels = None
        if image is not None:
            picture = _bounded(open_image(image))
            size, pixels = picture.size, np.frombuffer(picture.tobytes(), np.uint8)
        data = None if pixels is None else pixels.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        bitmap = mtmd.mtmd_bitmap_init(*size, data)
        part = mtmd.mtmd_input_part(bitmap=bitmap)
        self._chunks = mtmd.mtmd_input_chunks_init()
        try:
            parts = (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))
            if mtmd.mtmd_tokenize_from_parts(context, self._chunks, parts, 1, False) != 0:
                raise InvalidRequest("An image cannot be cut as its model wants it; see the log.", param="messages")
        except BaseException:
            mtmd.mtmd_input_chunks_free(self._chunks)
            raise
        finally:
            mtmd.mtmd_bitmap_free(bitmap)
        count = mtmd.mtmd_input_chunks_size(self._chunks)
        self.chunks = [mtmd.mtmd_input_chunks_get(self._chunks, index) for index in range(count)]

    @property
    def images(self) -> list[int]:
        """Those that are no text."""
        kind = mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE
        return [chunk for chunk in self.chunks if mtmd.mtmd_input_chunk_get_type(chunk) == kind]

    def __enter__(self) -> _Cut:
        return self

    def __exit__(self, *_: object) -> None:
        mtmd.mtmd_input_chunks_free(self._chunks)


def _bounded(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Make a picture smaller that has more pixels than any model sees: the library copies them several times."""
    share = math.sqrt(MOST_PIXELS / (picture.width * picture.height))
    if share >= 1:
        return picture
    size = max(1, int(picture.width * share)), max(1, int(picture.height * share))
    return picture.resize(size, PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)


def find_obstacle(path: Path) -> str:
    """Return why a projector makes no images readable; "" if it does. Raises `ConfigError` if it is none."""
    info = inspect(path, named_by="mmproj")
    if info.kind != KIND:
        raise ConfigError(f"{path} is of kind {info.kind!r} and no projector; correct `mmproj`.", param="mmproj")
    if info.projector in CONTEXT_BOUND:
        return f"projectors of the kind {info.projector!r} are not supported yet"
    return "" if info.sees else "it is for sound only"


def _load_failure(path: Path, cause: str) -> ConfigError | ModelLoadFailed:
    if MISFIT in cause:
        said = " ".join(cause.partition("hint:")[0].split())
        return ConfigError(
            f"The projector {path} does not fit the model: {said}; use the projector that was made for this model.",
            param="mmproj",
        )
    return ModelLoadFailed(f"llama.cpp cannot load the projector {path}: {cause}; download it again.")
