"""Pictures of what was learned."""

from tinyvq.report._runs import (
    draw_curve,
    draw_noise_results,
    draw_noise_sample,
    draw_prior_results,
    draw_prior_sample,
    draw_reconstructions,
    draw_results,
    draw_sample,
    draw_vae_results,
)
from tinyvq.report.page import write_page
from tinyvq.report.pictures import (
    PAPER,
    WIDTH,
    Picture,
    image_grid,
    png_bytes,
    reconstruction_picture,
    save_png,
)
from tinyvq.report.roofline import roofline_picture

__all__ = [
    "PAPER",
    "WIDTH",
    "Picture",
    "draw_curve",
    "draw_noise_results",
    "draw_noise_sample",
    "draw_prior_results",
    "draw_prior_sample",
    "draw_reconstructions",
    "draw_results",
    "draw_sample",
    "draw_vae_results",
    "image_grid",
    "png_bytes",
    "reconstruction_picture",
    "roofline_picture",
    "save_png",
    "write_page",
]
