"""Pictures of what was learned."""

from tinyvq.report._runs import draw_reconstructions, draw_results, draw_sample, pick
from tinyvq.report.pictures import save_png

__all__ = ["draw_reconstructions", "draw_results", "draw_sample", "pick", "save_png"]
