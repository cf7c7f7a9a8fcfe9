"""tinyvq's models in plain PyTorch: what it is checked against and timed against."""
