"""The models, one module each under its name in ``params.yaml``; how they are stored, bundled and averaged."""
