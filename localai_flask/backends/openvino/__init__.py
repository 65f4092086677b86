"""Intel's OpenVINO: models in its own format (IR), or exported to it once, on openvino-genai's batching pipeline."""
