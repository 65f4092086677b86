"""The transformers engine: Hugging Face models on the CPU, batched by the library's continuous batching."""

import os

# Read once, when huggingface_hub is imported: a model is a local folder, and nothing is ever fetched for it.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
