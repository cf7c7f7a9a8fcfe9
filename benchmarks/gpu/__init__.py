"""`make gpu`: check every kernel on this GPU, then measure; in under ten minutes.

Needs a python3 with NumPy, Numba, CuPy, PyTorch, pytest and Hypothesis, and no network.
Writes results/<gpu>.json: after the checks, so that no figure is of a wrong kernel.

PyTorch's peers are each labelled by what they compute in: float32, or TF32, which
rounds the factors of products to ten bits and says nothing. Times are medians between
CUDA events; contenders take turns. The roofs are measured, too: copying, and the
largest matrix products in float32 and in TF32.
"""
