"""MLflow runs: one for each trained model, with its params, metrics, data sets and artifacts."""

BUNDLE_ARTIFACT = "bundle"  # key of the model's bundle among the artifacts of a logged model
DIGEST_TAG = "model_digest"  # of the model's bundle; only a complete run has it
DATA_SOURCE_TAG = "data_source"  # of runs and versions: ``data.source`` of what a model was trained on
