from training.run_fixtures import images, no_figures, one_thread

__all__ = ["images", "no_figures", "one_thread"]
