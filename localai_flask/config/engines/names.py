"""The names of engines that files of LocalAI have, of any year: where each lives now, or what to do instead.

docs/engines.md lists them all; a name that is missing here is that of an engine, or of none.
"""

from __future__ import annotations

from typing import NamedTuple


class Name(NamedTuple):
    """What an older name means: an engine, and the `type`, or for a GGUF file the key, that comes with it."""

    engine: str
    type: str = ""
    gguf: str = ""
    """The engine that runs it where its model is a GGUF file, if that is another."""


NAMES = {
    **dict.fromkeys(
        (
            *("llama", "llama-stable", "llama-master", "llama-ggml", "go-llama", "llama.cpp", "gguf", "bonsai"),
            *("llama-grpc", "llama-cpp-grpc", "llama-cpp-fallback", "llama-cpp-avx", "llama-cpp-avx2"),
            *("llama-cpp-avx512", "llama-cpp-cuda", "llama-cpp-hipblas", "llama-cpp-sycl_16", "llama-cpp-sycl_32"),
            *("llama-cpp-vulkan", "llama-cpp-quantization", "gpt4all", "gpt4all-llama", "gpt4all-mpt", "gpt4all-j"),
            *("gptj", "gpt2", "gptneox", "bloomz", "bloom", "dolly", "redpajama", "mpt", "replit", "starcoder"),
            *("falcon", "falcon-ggml"),
        ),
        Name("llama-cpp"),
    ),
    **dict.fromkeys(("ik-llama", "ik_llama"), Name("ik-llama-cpp")),
    **dict.fromkeys(("openai", "remote", "localai-proxy"), Name("cloud-proxy")),
    **dict.fromkeys(
        ("huggingface-embeddings", "sentencetransformers", "sentence-transformers", "bert-embeddings", "bert"),
        Name("transformers", "SentenceTransformer", gguf="llama-cpp"),
    ),
    "mamba": Name("transformers", "Mamba", gguf="llama-cpp"),
    "rerankers": Name("transformers", "CrossEncoder", gguf="llama-cpp"),
    "rwkv": Name("rwkv", gguf="llama-cpp"),
    **dict.fromkeys(("autogptq", "auto-gptq", "gptqmodel"), Name("gptq")),
    "exllama": Name("exllama2"),
    "exllamav2": Name("exllama2"),
    "exllamav3": Name("exllama3"),
}

_SOUND = "is for speech and other sound, which this server does not serve"
_IMAGES = "is for images and video, which this server does not make or take apart"
_STORES = "stores vectors; this server makes them (/v1/embeddings), for a vector database beside it"
_APPLE = (
    "runs MLX models on Apple's processors alone; use a GGUF file of the model with `backend: llama-cpp`, which "
    "computes on Apple's GPUs too"
)
ELSEWHERE = {
    **dict.fromkeys(
        (
            *("whisper", "faster-whisper", "whisperx", "moonshine", "parakeet-cpp", "crispasr", "voxtral", "qwen-asr"),
            *("nemo", "nemo-speech-cpp", "sherpa-onnx", "audio-cpp", "piper", "coqui", "bark", "bark-cpp", "kokoro"),
            *("kokoros", "chatterbox", "vibevoice", "vibevoice-cpp", "moss-tts-cpp", "magpie-tts-cpp", "qwen-tts"),
            *("qwen3-tts-cpp", "omnivoice-cpp", "fish-speech", "pocket-tts", "outetts", "faster-qwen3-tts", "neutts"),
            *("voxcpm", "kitten-tts", "supertonic", "mlx-audio", "liquid-audio", "ace-step", "acestep-cpp"),
            *("silero-vad", "localvqe", "opus", "openvoice", "parler-tts", "vall-e-x", "transformers-musicgen"),
            *("speaker-recognition", "voice-detect-cpp"),
        ),
        _SOUND,
    ),
    **dict.fromkeys(
        (
            *("stablediffusion", "stablediffusion-ggml", "stablediffusion-cpp", "tinydream", "diffusers"),
            *("longcat-video", "rfdetr", "rfdetr-cpp", "locate-anything-cpp", "depth-anything-cpp", "sam3-cpp"),
            *("face-detect-cpp", "insightface"),
        ),
        _IMAGES,
    ),
    **dict.fromkeys(("local-store", "embedded-store", "valkey-store"), _STORES),
    **dict.fromkeys(("mlx", "mlx-vlm", "mlx-distributed"), _APPLE),
    "sglang": "is not part of this version; `backend: vllm` runs the same folders",
    "vllm-omni": "is not part of this version; `backend: vllm` runs those of its models that write text",
    "vllm-cpp": "is not part of this version; use `backend: vllm` for folders and `backend: llama-cpp` for GGUF files",
    "ds4": "is not part of this version; use a GGUF file of the model with `backend: llama-cpp`",
    "tinygrad": "is not part of this version; use `backend: transformers`",
    "petals": "shares models with strangers' machines, which this server does not do; use `backend: transformers`",
    "langchain-huggingface": "asks Hugging Face's own servers, which clients can do directly",
    "huggingface": "asks Hugging Face's own servers; for a model of theirs that runs here, use `backend: transformers`",
    "privacy-filter": "marks personal data in texts, which this server does not do",
    "trl": "trains models, which this server does not do",
}
"""Completes the sentence "`backend: NAME` …"."""

OF_GGUF = {"SentenceTransformer": "embeddings", "CrossEncoder": "reranking"}
"""The key of YAML that says of a GGUF file what a `type` says of a folder."""


TYPES = {"OVModelForCausalLM": "openvino", "OVModelForFeatureExtraction": "openvino"}
"""What `type` says where LocalAI's transformers backend runs a model with another library, and whose engine that is."""


def meant_by(name: str, model: str = "", kind: str = "") -> Name:
    """Return what the name of an engine in YAML means for a model of this file name and of this `type`."""
    if name in ("", "transformers") and kind in TYPES:
        return Name(TYPES[kind])
    meant = NAMES.get(name, Name(name))
    return Name(meant.gguf, OF_GGUF.get(meant.type, "")) if meant.gguf and model.lower().endswith(".gguf") else meant
