"""tinyvq's models in plain PyTorch: what it is checked against and timed against."""

import torch

# How images may lie in PyTorch's memory: contenders by name.
LAYOUTS = {
    "PyTorch": torch.contiguous_format,
    "PyTorch channels_last": torch.channels_last,
}
