"""What a file is that is no GGUF file, by its first bytes."""

from __future__ import annotations

_OLD_GGML = (
    "a GGML file from before GGUF",
    "download a GGUF version of the model, or convert one of the Llama family with llama.cpp's "
    "convert_llama_ggml_to_gguf.py",
)
_LOOKALIKES = (
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself with `git lfs pull`"),
    (b"PK\x03\x04", "a zip archive or PyTorch checkpoint", "unpack it, or convert the model to GGUF"),
    (b"\x80\x02", "a pickled PyTorch checkpoint", "convert the model to GGUF"),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"lmgg", *_OLD_GGML),
    (b"fmgg", *_OLD_GGML),
    (b"tjgg", *_OLD_GGML),
    (b"\0\0\0\0", "an unfinished download (it begins with zeros)", "download it again"),
    (b"<", "a web page", "download the file itself, not the page about it"),
    (b"{", "JSON", "download the .gguf file itself"),
    (b"[", "JSON", "download the .gguf file itself"),
)


def describe_format(head: bytes) -> str:
    """Complete the sentence "FILE cannot be used: …"."""
    if head[4:9] == b"\0\0\0\0{":  # safetensors: the length of a JSON header in 8 bytes, then that header
        return (
            "it looks like safetensors; put the model's whole Hugging Face folder into the models folder "
            "and use `backend: transformers`, or convert the model to GGUF"
        )
    for start, what, advice in _LOOKALIKES:
        if head.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(start):
            return f"it looks like {what}; {advice}"
    return f"it begins with {head[:4]!r} instead of {b'GGUF'!r}; download it again or convert the model to GGUF"
