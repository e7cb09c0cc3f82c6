"""From labelled music to a served genre classifier."""

import os

# TensorFlow turns its fast convolutions on by itself only for processors with instructions for 8-bit integers (VNNI);
# others gain more. It reads this when it is imported, so it is said before anything of ours can do that.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
