"""GPTQ: folders quantised by AutoGPTQ or GPTQModel, run by the transformers engine where GPTQModel is installed."""
