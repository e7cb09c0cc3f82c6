"""The models, one module each, under the name that ``params.yaml`` gives it; how they are stored, packed and combined."""
