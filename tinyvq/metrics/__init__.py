"""How good reconstructions are, how well the codebook is used, what an image costs.

Plain NumPy arrays in, plain numbers out; every sum runs in float64. Images are
channels-last (N, H, W, C) with a data range of 1. To measure a whole split batch by
batch, give each batch's mean and number of images to a `RunningMean`, each batch's
indices to a `CodebookUsage`, and each batch's features to a `FeatureStatistics`.
"""

from tinyvq.entropy import entropy_bits, perplexity
from tinyvq.metrics._codebook import CodebookUsage, batch_perplexity, codes_used
from tinyvq.metrics._count_models import left_above_nats, position_histogram_nats
from tinyvq.metrics._coverage import coverage_and_density
from tinyvq.metrics._entropy_estimate import chao_wang_jost_entropy_bits
from tinyvq.metrics._frechet import FeatureStatistics, frechet_distance
from tinyvq.metrics._pixel_likelihood import (
    PixelLikelihood,
    bits_per_dimension,
    fit_scale,
)
from tinyvq.metrics._pixels import PSNR_CAP_DB, mse, nmse, psnr_db
from tinyvq.metrics._running import RunningMean
from tinyvq.metrics._structural import SSIM_WINDOW, ssim

__all__ = [
    "PSNR_CAP_DB",
    "SSIM_WINDOW",
    "CodebookUsage",
    "FeatureStatistics",
    "PixelLikelihood",
    "RunningMean",
    "batch_perplexity",
    "bits_per_dimension",
    "chao_wang_jost_entropy_bits",
    "codes_used",
    "coverage_and_density",
    "entropy_bits",
    "fit_scale",
    "frechet_distance",
    "left_above_nats",
    "mse",
    "nmse",
    "perplexity",
    "position_histogram_nats",
    "psnr_db",
    "ssim",
]
