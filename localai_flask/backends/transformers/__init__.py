"""The transformers engine: Hugging Face models on the CPU, batched by the library's continuous batching."""
