"""Models: a VQ-VAE from any encoder, quantizer and decoder, and the usual ones."""

from tinyvq.models._presets import PRESETS, TUNED, QuantizerName
from tinyvq.models._vqvae import VQVAE, VQVAEOutput

__all__ = ["PRESETS", "TUNED", "VQVAE", "QuantizerName", "VQVAEOutput"]
