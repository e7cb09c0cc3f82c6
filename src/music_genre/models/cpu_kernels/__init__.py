"""The published networks on fused kernels, for training on a CPU."""
