"""NVIDIA GPUs: kernels, memory, streams. PyCUDA is imported in driver.py and nowhere else."""
