"""VAE: its loss, what reaches which weight, and that it shares a VQ-VAE's halves."""

import math
from typing import Any

import numpy as np
import pytest
from models.vae_examples import SMALL, VARIANCE, images, noise, vae

from tinyvq import Tensor, ops
from tinyvq.errors import ConfigError, ShapeError
from tinyvq.models import VAE, VQVAE
from tinyvq.rng import Stream
from tinyvq.testing import check_grads

each_preset = pytest.mark.parametrize("name", SMALL)


@each_preset
@pytest.mark.parametrize("channels", [1, 3])
def test_the_shapes(name: str, channels: int) -> None:
    model = vae(name, channels=channels)
    output = model(Tensor(images(3, channels)), Tensor(noise(3)))
    assert output.reconstruction.shape == (3, 8, 12, channels)
    assert output.mean.shape == output.log_variance.shape == (3, 5)
    assert output.loss.shape == output.mse.shape == output.kl.shape == ()
    assert model.generate(Tensor(noise(7))).shape == (7, 8, 12, channels)
    assert model.noise(4, Stream(0)).shape == (4, 5)


@each_preset
def test_encoder_and_decoder_are_a_vqvaes_weight_for_weight(name: str) -> None:
    model = vae(name, dtype="float32")
    peer = VQVAE.preset(name, channels=1, code_dim=3, seed=1, **SMALL[name])
    theirs, mine = peer.state_dict(), model.state_dict()
    shared = [n for n in mine if n.startswith(("encoder.", "decoder."))]
    assert len(shared) == len(theirs) - len(peer.quantizer.state_dict())
    for path in shared:
        np.testing.assert_array_equal(mine[path], theirs[path], err_msg=path)


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (64, 64)])
def test_the_linear_layers_are_all_that_it_has_more(size: tuple[int, int]) -> None:
    model = VAE.preset("conv", image_size=size, grid_dim=16, latent_dim=64)
    peer = VQVAE.preset("conv", image_size=size, code_dim=16)
    grid = size[0] // 4 * (size[1] // 4) * 16
    between = 2 * (grid * 64 + 64) + 64 * grid + grid
    assert model.num_parameters() == peer.num_parameters() + between


def test_the_loss_is_its_definition() -> None:
    model, x = vae(beta=0.3), images(4)
    output = model(Tensor(x), Tensor(noise(4)))
    mean, s = output.mean.numpy(), output.log_variance.numpy()
    z = mean + np.sqrt(np.exp(s)) * noise(4)
    made = model.generate(Tensor(z)).numpy()
    np.testing.assert_allclose(output.reconstruction.numpy(), made, rtol=1e-12)
    mse = ((made - x) ** 2).mean()
    kl = ((mean**2 + np.exp(s) - 1 - s) / 2).sum(axis=1).mean()
    assert output.mse.item() == pytest.approx(mse, rel=1e-12)
    assert output.kl.item() == pytest.approx(kl, rel=1e-12)
    expected = mse / VARIANCE + 2 * 0.3 / (8 * 12) * kl
    assert output.loss.item() == pytest.approx(expected, rel=1e-12)


def test_the_loss_is_the_elbo_of_pixels_whose_variance_is_beta() -> None:
    """-ELBO = n/(2β) · L + n/2 log(2πβV), from the densities themselves."""
    beta, x = 0.3, images(4)
    output = vae(beta=beta)(Tensor(x), Tensor(noise(4)))
    made, variance = output.reconstruction.numpy(), beta * VARIANCE
    log_density = -((x - made) ** 2) / (2 * variance) - 0.5 * math.log(
        2 * math.pi * variance
    )
    elbo = log_density.sum(axis=(1, 2, 3)).mean() - output.kl.item()
    n = 8 * 12
    expected = n / (2 * beta) * output.loss.item()
    expected += n / 2 * math.log(2 * math.pi * variance)
    assert -elbo == pytest.approx(expected, rel=1e-12)


def test_without_noise_the_mean_is_decoded() -> None:
    model, x = vae(), Tensor(images(2))
    output = model(x)
    mean, log_variance = model.encode(x)
    np.testing.assert_array_equal(output.mean, mean)
    np.testing.assert_array_equal(output.log_variance, log_variance)
    np.testing.assert_array_equal(output.reconstruction, model.generate(mean))
    still = model(x, Tensor(np.zeros((2, 5))))
    np.testing.assert_array_equal(still.reconstruction, output.reconstruction)
    other = model(x, Tensor(noise(2)))
    assert (other.reconstruction.numpy() != output.reconstruction.numpy()).any()


# Gradients.


def put(model: VAE, path: str, value: Tensor) -> None:
    """Put a tensor in the place of a parameter."""
    *way, last = path.split(".")
    node: Any = model
    for name in way:
        node = node[int(name)] if isinstance(node, list) else getattr(node, name)
    setattr(node, last, value)


def in_motion(model: VAE) -> VAE:
    """Move weights away from where a ReLU has its kink, and biases away from 0."""
    for path, parameter in model.named_parameters():
        with parameter.mutate() as array:
            array += 0.1 * Stream(0, "moved", path).normal(array.shape)
    return model


@each_preset
def test_the_whole_loss_by_finite_differences(name: str) -> None:
    model = in_motion(vae(name))
    x, eps = Tensor(images(2)), Tensor(noise(2))
    weights = dict(model.named_parameters())
    together = np.concatenate([w.numpy().ravel() for w in weights.values()])

    def loss(values: Tensor) -> Tensor:
        first = 0
        for path, weight in weights.items():
            part = values[first : first + weight.size]
            put(model, path, ops.reshape(part, *weight.shape))
            first += weight.size
        return model(x, eps).loss

    check_grads(loss, together, seed=1)


# loss: the parts of the model that it moves.
REACHES = {
    "mse": {"encoder", "to_mean", "to_log_variance", "from_latent", "decoder"},
    "kl": {"encoder", "to_mean", "to_log_variance"},
    "mse of the mean": {"encoder", "to_mean", "from_latent", "decoder"},
    "loss": {"encoder", "to_mean", "to_log_variance", "from_latent", "decoder"},
}


@pytest.mark.parametrize("term", REACHES)
def test_which_loss_reaches_which_weight(term: str) -> None:
    model, x = vae(), Tensor(images(3))
    output = model(x) if "mean" in term else model(x, Tensor(noise(3)))
    getattr(output, term.partition(" ")[0]).backward()
    for path, parameter in model.named_parameters():
        got = parameter.grad is not None and bool(parameter.grad.numpy().any())
        assert got == (path.partition(".")[0] in REACHES[term]), path


def test_no_gradient_goes_to_the_noise() -> None:
    eps = Tensor(noise(2), requires_grad=True)
    vae()(Tensor(images(2)), eps).loss.backward()
    assert eps.grad is None


def test_the_divergence_pulls_to_a_standard_normal_distribution() -> None:
    """Alone, it makes every image's distribution N(0, 1), and is 0 there."""
    mean, log_variance = (Tensor(noise(3, seed=s), requires_grad=True) for s in (1, 2))
    first = ops.gaussian_kl(mean, log_variance).item()
    for _ in range(200):
        mean.grad = log_variance.grad = None
        kl = ops.gaussian_kl(mean, log_variance)
        kl.backward()
        for parameter in (mean, log_variance):
            assert parameter.grad is not None
            with parameter.mutate() as array:
                array -= 0.5 * parameter.grad.array
    assert first > 1
    assert 0 <= kl.item() < 1e-6
    np.testing.assert_allclose(mean, 0, atol=1e-3)
    np.testing.assert_allclose(log_variance, 0, atol=1e-3)


# What is refused.


def test_what_cannot_be_built_is_named() -> None:
    with pytest.raises(ConfigError, match="no preset 'dense'; there is: conv, small"):
        VAE.preset("dense", image_size=(8, 8))
    with pytest.raises(ConfigError, match="are 9×8 pixels"):
        VAE.preset("conv", image_size=(9, 8))
    for name, value in (("beta", -0.1), ("beta", math.nan), ("pixel_variance", 0.0)):
        with pytest.raises(ConfigError, match=f"{name} must be .*, got {value}"):
            vae(**{name: value})


def test_images_and_noise_that_do_not_fit_are_refused() -> None:
    model = vae()
    with pytest.raises(ShapeError, match=r"grids \(2, 3, 3\) of, got \(1, 12, 12, 1\)"):
        model(Tensor(np.zeros((1, 12, 12, 1))))
    with pytest.raises(ShapeError, match=r"VAE: needs noise \(N,5\), got \(2, 4\)"):
        model.generate(Tensor(noise(2, width=4)))
    with pytest.raises(ShapeError, match=r"reparameterize: .* not empty"):
        model(Tensor(images(2)), Tensor(noise(3)))
