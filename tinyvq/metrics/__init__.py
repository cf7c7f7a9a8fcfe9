"""How good reconstructions are, and how well the codebook is used.

Plain NumPy arrays in, plain numbers out; every sum runs in float64. Images are
channels-last (N, H, W, C) with a data range of 1. To measure a whole split batch by
batch, give each batch's mean and number of images to a `RunningMean`, and each batch's
indices to a `CodebookUsage`.
"""

from tinyvq.metrics._codebook import (
    CodebookUsage,
    batch_perplexity,
    codes_used,
    entropy_bits,
    perplexity,
)
from tinyvq.metrics._pixels import PSNR_CAP_DB, mse, nmse, psnr_db
from tinyvq.metrics._running import RunningMean
from tinyvq.metrics._structural import SSIM_WINDOW, ssim

__all__ = [
    "PSNR_CAP_DB",
    "SSIM_WINDOW",
    "CodebookUsage",
    "RunningMean",
    "batch_perplexity",
    "codes_used",
    "entropy_bits",
    "mse",
    "nmse",
    "perplexity",
    "psnr_db",
    "ssim",
]
