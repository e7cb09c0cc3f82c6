"""MLflow runs: one for each trained model, with its params, metrics, data sets and artifacts."""

BUNDLE_ARTIFACT = "bundle"  # key of the model's bundle among the artifacts of a logged model
