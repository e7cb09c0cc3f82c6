"""One architecture a module. Each network has ``build(input_shape, classes, settings)``."""
