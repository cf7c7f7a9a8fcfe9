"""Training: the loop, checkpoints, the metrics log, evaluation."""
