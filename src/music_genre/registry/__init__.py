"""MLflow's registered model: which version is served, and what a version must show before it may be."""

PASSED, REFUSED = "passed", "refused"  # verdicts of the gate
