"""The devices that ggml can compute on, here and on other machines, and the types of memory they have.

Owns the look-up by name; a device or buffer type is a C pointer as an integer.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from localai_flask.backends.llama_cpp.model.library import ggml, lib
from localai_flask.errors import ConfigError

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t
_count = ggml("ggml_backend_dev_count", _SIZE)
_get = ggml("ggml_backend_dev_get", _POINTER, _SIZE)
_name = ggml("ggml_backend_dev_name", ctypes.c_char_p, _POINTER)
_type = ggml("ggml_backend_dev_type", ctypes.c_int, _POINTER)
_memory = ggml("ggml_backend_dev_memory", None, _POINTER, ctypes.POINTER(_SIZE), ctypes.POINTER(_SIZE))
_props = ggml("ggml_backend_dev_get_props", None, _POINTER, _POINTER)
_buffer_type = ggml("ggml_backend_dev_buffer_type", _POINTER, _POINTER)
_buffer_type_name = ggml("ggml_backend_buft_name", ctypes.c_char_p, _POINTER)
_cpu_buffer_type = ggml("ggml_backend_cpu_buffer_type", _POINTER)

CPU, GPU, INTEGRATED_GPU = 0, 1, 2  # ggml_backend_dev_type
NONE = "none"


class _Props(ctypes.Structure):
    """The beginning of ggml_backend_dev_props, and room for what a later version may add."""

    _fields_ = (
        *(("name", ctypes.c_char_p), ("description", ctypes.c_char_p), ("free", _SIZE), ("total", _SIZE)),
        *(("type", ctypes.c_int), ("id", ctypes.c_char_p), ("rest", ctypes.c_byte * 128)),
    )


def local_devices() -> dict[str, int]:
    """List this machine's devices, the CPU among them, by llama.cpp's names for them."""
    lib.llama_backend_init()  # finds the devices when it is called first
    devices = (_get(index) for index in range(_count()))
    return {_name(device).decode(): device for device in devices}


def read_memory(device: int) -> tuple[int, int]:
    """Return how many bytes a device has left, and has at all; it may be wrong about shared memory."""
    free, total = _SIZE(), _SIZE()
    _memory(device, free, total)
    return free.value, total.value


def local_gpus() -> dict[str, int]:
    """List this machine's devices with compute units of their own."""
    return {name: device for name, device in local_devices().items() if _type(device) in (GPU, INTEGRATED_GPU)}


def gpu_memories() -> set[str]:
    """List the names of the memory of this machine's devices with compute units of their own."""
    return {_buffer_type_name(_buffer_type(device)).decode() for device in local_gpus().values()}


def chosen_gpus(names: Sequence[str], split_mode: str | None, main_gpu: int | None) -> list[int]:
    """Return the GPUs of this machine that llama.cpp would put a model on: of several names for one it takes the first.

    Raises `ConfigError` for a name that this machine does not have.
    """
    chosen = choose_devices(names, ())
    if chosen is None:
        found = {_hardware_id(device) or str(device): device for device in reversed(local_gpus().values())}
        gpus = list(reversed(found.values()))
        chosen = [device for device in gpus if _type(device) == GPU] or gpus
    return chosen[main_gpu or 0 :][:1] if split_mode == "none" else chosen


def _hardware_id(device: int) -> str:
    """Return by what a device is known to all backends that can use it; "" if it does not say."""
    props = _Props()
    _props(device, ctypes.addressof(props))
    return (props.id or b"").decode()


def choose_devices(names: Sequence[str], remote: Sequence[int]) -> list[int] | None:
    """Return the devices for a model, those of other machines first as llama.cpp does; None: whatever it would choose.

    Raises `ConfigError` for a name that this machine does not have.
    """
    if not names:
        return [*remote, *local_gpus().values()] if remote else None
    if [name.lower() for name in names] == [NONE]:
        return list(remote)
    devices, chosen = local_devices(), []
    for name in names:
        if name not in devices:
            raise ConfigError(
                f"There is no device {name!r}; this machine has: {', '.join(devices)} (or {NONE}).", param="options"
            )
        if _type(devices[name]) != CPU:  # the CPU takes part in any case, and llama.cpp wants it unlisted
            chosen.append(devices[name])
    return [*remote, *chosen]


def find_buffer_type(name: str, others: Sequence[int]) -> int:
    """Find a type of memory by its name, such as CPU or CUDA0; raise `ConfigError` with the known ones."""
    types: dict[str, int] = {}
    for device in [*local_devices().values(), *others]:
        buffer_type = _buffer_type(device)
        types[_buffer_type_name(buffer_type).decode()] = buffer_type
    if name not in types:
        raise ConfigError(
            f"The option override_tensor names the memory {name!r}; there is: {', '.join(types)}.", param="options"
        )
    return types[name]


def cpu_buffer_type() -> int:
    return int(_cpu_buffer_type())
