"""Discriminators: their sizes and shapes, their first weights, what they refuse."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tinyvq import Tensor, grad, no_grad, optim
from tinyvq.errors import ConfigError, ShapeError
from tinyvq.losses import adversarial_loss
from tinyvq.models import ConvDiscriminator, Discriminator, PatchGAN
from tinyvq.nn import BatchNorm2d, Conv2d, Linear, frozen_statistics
from tinyvq.rng import Stream

Array = npt.NDArray[Any]
Build = Callable[..., Discriminator]

both = pytest.mark.parametrize("build", [PatchGAN, ConvDiscriminator])


def images(*shape: int, seed: int = 0) -> Tensor:
    return Tensor(Stream(seed, "images").uniform(shape, -0.5, 0.5, np.float32))


def small(build: Build, channels: int = 1, size: int = 28, **settings: Any) -> Any:
    given: dict[str, Any] = {"hidden": 4, "layers": 2, "rng": Stream(0)}
    return build(channels, image_size=(size, size), **given | settings)


def buffers(network: Discriminator) -> dict[str, bytes]:
    return {k: v.tobytes() for k, v in network.state_dict().items() if "running" in k}


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "layers", "places"), [(28, 2, 5), (32, 2, 6), (64, 3, 6), (28, 3, 1)]
)
def test_patchgan_gives_a_logit_a_patch(
    size: int, layers: int, places: int, channels: int, norm: str
) -> None:
    network = small(PatchGAN, channels, size, layers=layers, norm=norm)
    logits, hidden = network.judge(images(2, size, size, channels))
    assert logits.shape == (2, places, places, 1)
    halves = [(2, size >> i, size >> i, 2 ** (i + 1)) for i in range(1, layers + 1)]
    last = (2, places + 1, places + 1, 2 ** (layers + 2))
    assert [h.shape for h in hidden] == [*halves, last]


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [28, 32, 64])
def test_the_plain_one_gives_a_logit_an_image(
    size: int, channels: int, norm: str
) -> None:
    network = small(ConvDiscriminator, channels, size, norm=norm)
    logits, hidden = network.judge(images(2, size, size, channels))
    assert logits.shape == (2, 1)
    halves = [(2, size >> i, size >> i, 2 ** (i + 1)) for i in (1, 2)]
    assert [h.shape for h in hidden] == halves


@pytest.mark.parametrize("size", [(27, 13), (7, 5), (1, 1), (1, 9)])
def test_the_plain_one_takes_odd_sizes(size: tuple[int, int]) -> None:
    network = ConvDiscriminator(1, image_size=size, hidden=2, layers=3)
    assert network(images(2, *size, 1)).shape == (2, 1)


def test_every_pixel_counts_for_the_plain_one() -> None:
    network = small(ConvDiscriminator, size=27, norm="none")
    x = Tensor(images(1, 27, 27, 1).numpy(), requires_grad=True)
    assert (grad(network(x).sum(), [x])[0].numpy() != 0).all()


@pytest.mark.parametrize(("layers", "seen"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_of_patchgan_sees_a_patch(layers: int, seen: int) -> None:
    size = 2 * seen
    network = PatchGAN(1, hidden=2, layers=layers, norm="none", rng=Stream(0))
    x = Tensor(images(1, size, size, 1).numpy(), requires_grad=True)
    logits = network(x)
    middle = logits.shape[1] // 2
    (gx,) = grad(logits[0, middle, middle, 0], [x])
    touched = gx.numpy()[0, :, :, 0] != 0
    assert touched.any(axis=0).sum() == touched.any(axis=1).sum() == seen


def test_the_default_has_the_sizes_of_pix2pix() -> None:
    """16 taps · in · out; a bias in the first and last layer; norms of 2 · out."""
    first, last = 16 * 3 * 64 + 64, 16 * 512 + 1
    between = [16 * a * b + 2 * b for a, b in [(64, 128), (128, 256), (256, 512)]]
    assert PatchGAN(3).num_parameters() == first + sum(between) + last == 2_765_633


def test_widths_double_up_to_eight_times_the_first() -> None:
    network = PatchGAN(1, hidden=2, layers=5)
    convs = [m for _, m in network.named_modules() if isinstance(m, Conv2d)]
    assert [c.weight.shape[3] for c in convs] == [2, 4, 8, 16, 16, 16, 1]


@both
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_convolution_has_a_bias_or_a_batch_norm(build: Build, norm: str) -> None:
    network = small(build, norm=norm)
    firsts = [layer.layers[0] for layer in network.body]
    normed = [isinstance(layer.layers[1], BatchNorm2d) for layer in network.body]
    assert normed == [False] + [norm == "batch"] * (len(firsts) - 1)
    assert [conv.bias is None for conv in firsts] == normed


@both
def test_judging_gives_logits_and_hidden_activations_in_one_forward(
    build: Build,
) -> None:
    network = small(build, norm="none")
    x = images(3, 28, 28, 1)
    logits, hidden = network.judge(x)
    np.testing.assert_array_equal(logits.numpy(), network(x).numpy())
    y = x
    for layer, activation in zip(network.body, hidden, strict=True):
        y = layer(y)
        np.testing.assert_array_equal(activation.numpy(), y.numpy())
        values = activation.numpy()
        # Past the leaky ReLU, not before it: the negative side is a fifth as steep.
        assert 0 < -values.min() < values.max()
    np.testing.assert_array_equal(logits.numpy(), network.head(y).numpy())


def test_probability_is_the_sigmoid_of_the_logit() -> None:
    network = small(ConvDiscriminator)
    x = images(4, 28, 28, 1)
    with frozen_statistics(network):
        logits, found = network(x).numpy(), network.probability(x).numpy()
    wanted = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert found.shape == (4, 1)
    # The logistic function is off by a few units of the last place of values below 1.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=4 * 2.0**-24)


# First weights. A mean of n normal values is off by more than 5/√n of their spread, and
# a spread by 5/√(2n) of itself, one time in two million.


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_patchgan_draws_its_weights_from_narrow_normals(norm: str) -> None:
    network = PatchGAN(3, hidden=16, norm=norm, rng=Stream(1))  # type: ignore[arg-type]
    for path, module in network.named_modules():
        if isinstance(module, Conv2d | BatchNorm2d):
            mean = 1.0 if isinstance(module, BatchNorm2d) else 0.0
            values, n = module.weight.numpy(), module.weight.size
            assert abs(values.mean() - mean) < 5 * 0.02 / math.sqrt(n), path
            assert abs(values.std() - 0.02) < 5 * 0.02 / math.sqrt(2 * n), path
            assert module.bias is None or not module.bias.numpy().any(), path


def test_the_plain_one_leaves_its_weights_as_layers_draw_them() -> None:
    network = ConvDiscriminator(1, image_size=(28, 28), hidden=16, rng=Stream(1))
    for path, module in network.named_modules():
        if isinstance(module, Conv2d | Linear):
            bound = 1 / math.sqrt(math.prod(module.weight.shape[:-1]))
            assert 0.9 * bound < np.abs(module.weight.numpy()).max() <= bound, path


@both
def test_a_stream_fixes_the_weights(build: Build) -> None:
    one, same, other = (
        small(build, rng=Stream(seed)).state_dict() for seed in (1, 1, 2)
    )
    for name, values in one.items():
        np.testing.assert_array_equal(values, same[name])
    assert (one["body.0.layers.0.weight"] != other["body.0.layers.0.weight"]).all()


# What training moves, and what it must not.


@both
def test_frozen_statistics_leave_a_discriminators_running_means_unchanged(
    build: Build,
) -> None:
    network = small(build)
    before = buffers(network)
    assert before
    with frozen_statistics(network):
        frozen = network(images(3, 28, 28, 1))
    assert buffers(network) == before
    moving = network(images(3, 28, 28, 1))
    after = buffers(network)
    assert all(after[name] != before[name] for name in before)
    # Frozen, it still judges by the batch: the verdict is the same.
    np.testing.assert_array_equal(frozen.numpy(), moving.numpy())


@both
def test_without_norm_there_is_nothing_to_follow(build: Build) -> None:
    assert buffers(small(build, norm="none")) == {}


@both
def test_in_evaluation_an_image_is_judged_alone(build: Build) -> None:
    """Whatever else is in the batch; and running means stay."""
    network = small(build)
    network(images(3, 28, 28, 1))
    network.eval()
    before = buffers(network)
    x = images(3, 28, 28, 1, seed=1)
    with no_grad():
        together = network(x).numpy()
        alone = [network(Tensor(x.numpy()[i : i + 1])).numpy() for i in range(3)]
    assert buffers(network) == before
    np.testing.assert_array_equal(np.concatenate(alone), together)


@both
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_discriminator_learns_to_tell_bright_from_dark(
    build: Build, norm: str
) -> None:
    network = small(build, size=16, norm=norm)
    loss = adversarial_loss("hinge")
    adam = optim.Adam(network.parameters(), 3e-3, (0.5, 0.9))
    losses = []
    for step in range(30):
        noise = images(8, 16, 16, 1, seed=step).numpy() / 2
        adam.zero_grad()
        verdict = loss.discriminator(
            network(Tensor(noise + 0.2)), network(Tensor(noise - 0.2))
        )
        verdict.backward()
        adam.step()
        losses.append(verdict.item())
    assert losses[-1] < losses[0] / 2


@both
def test_state_goes_from_one_to_another(build: Build) -> None:
    one, other = small(build), small(build, rng=Stream(1))
    one(images(3, 28, 28, 1))
    other.load_state_dict(one.state_dict())
    x = images(2, 28, 28, 1, seed=1)
    np.testing.assert_array_equal(one.eval()(x).numpy(), other.eval()(x).numpy())


# What is refused.


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_patchgan_names_the_smallest_size_where_images_are_too_small(
    layers: int,
) -> None:
    least = 3 * 2**layers
    fits = PatchGAN(1, image_size=(least, least), hidden=2, layers=layers)
    assert fits(images(1, least, least, 1)).shape == (1, 1, 1, 1)
    for size in [(least - 1, 64), (64, least - 1)]:
        message = f"smallest images are {least}×{least}, got {size[0]}×{size[1]}"
        with pytest.raises(ConfigError, match=message):
            PatchGAN(1, image_size=size, hidden=2, layers=layers)
        with pytest.raises(ShapeError, match=f"of {least}×{least} or more, got"):
            fits(images(1, *size, 1))


def test_the_plain_one_needs_an_image_of_some_size() -> None:
    with pytest.raises(ConfigError, match="smallest images are 1×1, got 0×4"):
        ConvDiscriminator(1, image_size=(0, 4))


@both
@pytest.mark.parametrize("shape", [(2, 28, 28, 3), (28, 28, 1), (2, 4, 4, 1)])
def test_images_that_do_not_fit_are_refused(
    build: Build, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError, match=rf"{build.__name__}: needs images \(N,"):  # type: ignore[attr-defined]
        small(build)(images(*shape))


def test_the_plain_one_is_for_one_size_of_images() -> None:
    with pytest.raises(ShapeError, match=r"\(N,28,28,1\), got \(2, 32, 32, 1\)"):
        small(ConvDiscriminator)(images(2, 32, 32, 1))


@both
@pytest.mark.parametrize("what", ["channels", "hidden", "layers"])
def test_sizes_of_less_than_one_are_refused(build: Build, what: str) -> None:
    with pytest.raises(ConfigError, match=f"needs {what} of at least 1, got 0"):
        small(build, **{what: 0})


@both
def test_an_unknown_norm_is_refused(build: Build) -> None:
    with pytest.raises(ConfigError, match="no norm 'layer'; there is: batch, none"):
        small(build, norm="layer")
