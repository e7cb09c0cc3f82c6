"""Pretrained encoders: ONNX files that turn audio into embeddings, and where they come from."""
