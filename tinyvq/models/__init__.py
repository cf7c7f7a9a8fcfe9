"""Models: VQ-VAE and VQ-GAN, VAE and GAN, their adversaries, and priors."""

from tinyvq.models._discriminators import ConvDiscriminator, Discriminator, PatchGAN
from tinyvq.models._efficientnet import EfficientNet
from tinyvq.models._features import JUDGES, Judge, check_judge, features, judge
from tinyvq.models._gan import GAN, NoiseOutput, NoiseVQGAN
from tinyvq.models._generator import Generator
from tinyvq.models._pixelcnn import PixelCNN
from tinyvq.models._presets import PRESETS, TUNED, QuantizerName
from tinyvq.models._prior import CodeDecoder, Prior
from tinyvq.models._random_convolutions import RandomConvolutions
from tinyvq.models._sampling import filtered_probabilities, sample_codes
from tinyvq.models._squeezenet import SqueezeNet
from tinyvq.models._transformer import TransformerPrior
from tinyvq.models._vae import VAE, VAE_PRESETS, VAEOutput
from tinyvq.models._vqvae import VQVAE, VQVAEOutput

__all__ = [
    "GAN",
    "JUDGES",
    "PRESETS",
    "TUNED",
    "VAE",
    "VAE_PRESETS",
    "VQVAE",
    "CodeDecoder",
    "ConvDiscriminator",
    "Discriminator",
    "EfficientNet",
    "Generator",
    "Judge",
    "NoiseOutput",
    "NoiseVQGAN",
    "PatchGAN",
    "PixelCNN",
    "Prior",
    "QuantizerName",
    "RandomConvolutions",
    "SqueezeNet",
    "TransformerPrior",
    "VAEOutput",
    "VQVAEOutput",
    "check_judge",
    "features",
    "filtered_probabilities",
    "judge",
    "sample_codes",
]
