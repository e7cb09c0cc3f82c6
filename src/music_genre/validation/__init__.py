"""Is the data fit to train on, and are requests still like it: Great Expectations and drift detection."""
