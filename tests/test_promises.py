"""What goes wrong elsewhere in vector quantisation, and does not here.

A test a promise; the comment above it says what its break would look like. Two more are
kept beside the code they are about: the whole table of which loss reaches which
parameter, in quantizers/test_gradient_routing.py, and the moments of an optimiser that
a restart must clear, in quantizers/test_restarts.py.
"""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from memory import peak_memory
from quantizers.quantizer_examples import (
    ALL,
    HARD,
    AnyQuantizer,
    Array,
    bits,
    make,
    normal,
    still,
    told_apart,
)
from tinyvq_kernels import nearest_code

from tinyvq import Tensor, nn, no_grad, optim
from tinyvq.errors import ModuleError
from tinyvq.metrics import CodebookUsage
from tinyvq.models import VQVAE
from tinyvq.quantizers import VectorQuantizer
from tinyvq.rng import Stream

hard = pytest.mark.parametrize("learn", HARD)

# A codebook that collapses: of all codes only those that happened to lie nearest at the
# start are ever chosen, so only they move, and most of the codebook is never used.

CLUSTERS, WIDTH = 64, 8


def clustered(seed: int, n: int, shift: float = 4.0) -> Tensor:
    """Vectors of 64 clusters that lie to one side of where codes are drawn."""
    centres = Stream(0, "centres").normal((CLUSTERS, WIDTH)) * 3 + shift
    chosen = Stream(seed, "clusters").integers(CLUSTERS, n)
    noise = 0.1 * Stream(seed, "noise").normal((n, WIDTH))
    return Tensor((centres[chosen] + noise).astype(np.float32))


def train(quantizer: VectorQuantizer, batches: list[Tensor]) -> None:
    adam = None
    if quantizer.parameters():
        adam = optim.Adam(quantizer.parameters(), lr=0.01)
    for z in batches:
        output = quantizer(z)
        if adam is not None:
            adam.zero_grad()
            output.loss.backward()
            adam.step()
        update = quantizer.update(output.stats)
        for codebook in quantizer.trained_codebook():
            assert adam is not None
            adam.reset_rows(codebook, update.moved)


def used(quantizer: VectorQuantizer, shift: float = 4.0) -> int:
    return quantizer(clustered(10**6, 4096, shift)).stats.codes_used


@hard
def test_by_default_the_codebook_does_not_collapse(learn: str) -> None:
    batches = [clustered(step, 256) for step in range(50)]
    default = make(learn, CLUSTERS, WIDTH)
    started = make(learn, CLUSTERS, WIDTH, restart_below=0.0)
    bare = make(learn, CLUSTERS, WIDTH, kmeans_start=False, restart_below=0.0)
    for quantizer in (default, started, bare):
        train(quantizer, batches)
    assert used(default) > 0.9 * CLUSTERS
    assert used(started) > 0.9 * CLUSTERS  # by k-means alone
    assert used(bare) < 0.2 * CLUSTERS


@hard
def test_by_default_codes_come_back_after_the_vectors_have_moved_away(
    learn: str,
) -> None:
    start = [clustered(step, 256) for step in range(5)]
    moved = [clustered(step, 256, shift=-30.0) for step in range(5, 305)]
    default = make(learn, CLUSTERS, WIDTH)
    without = make(learn, CLUSTERS, WIDTH, restart_below=0.0)
    for quantizer in (default, without):
        train(quantizer, [*start, *moved])
    assert used(default, shift=-30.0) > 0.75 * CLUSTERS
    assert used(without, shift=-30.0) < 0.2 * CLUSTERS


# A collapse that nobody notices: how much of the codebook is used is not measured, or
# only in training.
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("training", [True, False])
def test_use_of_the_codebook_is_always_measured(name: str, training: bool) -> None:
    quantizer = make(name, 9, 2).train(training)
    with no_grad():
        output = quantizer(Tensor(normal(0, 50, 2)))
    counts = np.bincount(output.indices, minlength=9)
    np.testing.assert_array_equal(output.stats.counts, counts)
    assert output.stats.codes_used == np.count_nonzero(counts)
    # The exponential of a sum of nine terms rounds as often.
    most = output.stats.codes_used * (1 + 64 * 2.0**-53)
    assert 1 <= output.stats.batch_perplexity <= most


# A restart that does nothing: the code is placed anew, but its running sum still points
# to the old place, and the next update puts it back there.
def test_a_restarted_code_stays_at_its_new_place() -> None:
    codes = np.array([[0.0, 0.0], [1024.0, 1024.0]], np.float32)
    quantizer = still("ema", codes, decay=0.5, restart_below=0.5)
    near = normal(0, 8, 2)
    # The far code gathers vectors once, then no more: its size halves until it dies.
    restarted = [
        quantizer.update(quantizer(Tensor(z)).stats).restarted.tolist()
        for z in (np.concatenate([near, codes[[1] * 8]]), near, near)
    ]
    assert restarted == [[], [], [1]]
    place = quantizer.codebook.numpy()[1].copy()
    assert place.tolist() in near.tolist()

    # Nobody chooses it: it stays, to the bit.
    elsewhere = quantizer.codebook.numpy()[0] + (quantizer.codebook.numpy()[0] - place)
    output = quantizer(Tensor(elsewhere[None]))
    assert output.indices.tolist() == [0]
    quantizer.update(output.stats)
    np.testing.assert_array_equal(quantizer.codebook.numpy()[1], place)

    # One vector chooses it: it moves on from there, not a thousand away.
    output = quantizer(Tensor(place[None]))
    assert output.indices.tolist() == [1]
    quantizer.update(output.stats)
    # Sums and quotients of the same number: a few roundings of it.
    np.testing.assert_allclose(quantizer.codebook.numpy()[1], place, rtol=2.0**-21)


# Running means that start at count 0 with the codes as sums: the first update divides
# one by the other, and codes fly off to norms in the hundreds, unused ones further.
@pytest.mark.parametrize("decay", [0.5, 0.99, 0.9999])
def test_the_first_ema_update_puts_codes_on_the_means_of_their_vectors(
    decay: float,
) -> None:
    codes = normal(0, 40, 4)
    codes[20:] += 50  # out of reach
    quantizer = still("ema", codes, decay=decay)
    z = normal(1, 60, 4)
    chosen = quantizer(Tensor(z)).indices
    quantizer.update(quantizer(Tensor(z)).stats)
    found = quantizer.codebook.numpy()
    for m in range(40):
        if m not in chosen:
            np.testing.assert_array_equal(found[m], codes[m])
            continue
        mean = z[chosen == m].astype(np.float64).mean(axis=0)
        # A float32 sum of at most 60 values, a product, a quotient.
        allowed = 64 * 2.0**-24 * np.abs(z).max()
        np.testing.assert_allclose(found[m], mean, rtol=0, atol=allowed)
    norms = np.linalg.norm(found[np.unique(chosen)], axis=1)
    assert norms.max() <= np.linalg.norm(z, axis=1).max() * (1 + 2.0**-20)


# Beta on the wrong term: it slows the codes down and leaves the encoder uncommitted.
@hard
def test_beta_scales_what_reaches_the_encoder_and_nothing_else(learn: str) -> None:
    def gradients(beta: float) -> tuple[Array, Array | None]:
        quantizer = still(learn, normal(0, 8, 3), commitment=beta)
        z = Tensor(normal(1, 20, 3), requires_grad=True)
        quantizer(z).loss.backward()
        codebook = quantizer.codebook.grad
        assert z.grad is not None
        return z.grad.numpy(), None if codebook is None else codebook.numpy()

    (gz, ge), (gz_4, ge_4) = gradients(0.25), gradients(1.0)
    assert np.abs(gz).max() > 0
    np.testing.assert_array_equal(gz_4, 4 * gz)
    if learn == "ema":
        assert ge is ge_4 is None
    else:
        assert np.abs(ge).max() > 0
        np.testing.assert_array_equal(ge_4, ge)


# Losses taken after the straight-through has replaced the vectors by their codes, or
# made the codes look like vectors: they are 0, or pull at the wrong parameter.
@hard
def test_losses_are_taken_before_the_straight_through(learn: str) -> None:
    codes, values = normal(0, 8, 3, dtype="float64"), normal(1, 20, 3, dtype="float64")
    quantizer = still(learn, codes)
    z = Tensor(values, requires_grad=True)
    output = quantizer(z)
    apart = ((values - codes[output.indices]) ** 2).mean()
    weight = 0.25 + (learn == "gradient")
    # Sixty squares, added in two orders.
    assert output.loss.item() == pytest.approx(weight * apart, rel=64 * 2.0**-53)
    assert weight * apart > 0.1
    # The pull on z is along z - e, whatever the decoder's gradient is.
    output.loss.backward()
    pull = 0.25 * 2 / 60 * (values - codes[output.indices])
    assert z.grad is not None
    np.testing.assert_allclose(z.grad.numpy(), pull, rtol=8 * 2.0**-53)


# Codes updated inside the forward: the indices and the vectors handed on then belong to
# different codebooks, and gradients to neither.
@hard
def test_what_was_looked_up_is_not_stale_after_the_update(learn: str) -> None:
    def forward() -> tuple[AnyQuantizer, Tensor, Tensor, Array]:
        quantizer = make(learn, 8, 3, decay=0.0, restart_below=0.9)
        z = Tensor(normal(0, 30, 3), requires_grad=True)
        output = quantizer(z)
        codes = quantizer.codebook.numpy()[output.indices]
        return quantizer, z, output, codes

    quantizer, z, output, codes = forward()
    first = output.indices.copy()
    for _ in range(3):  # the start, then running means and restarts
        quantizer.update(output.stats)
    assert (quantizer.codebook.numpy()[first] != codes).any()
    np.testing.assert_array_equal(output.indices, first)
    np.testing.assert_array_equal(output.codes, codes)
    np.testing.assert_array_equal(output.quantized, codes)
    (output.loss + output.quantized.sum()).backward()

    _, z_before, output_before, _ = forward()  # the same, with no update between
    (output_before.loss + output_before.quantized.sum()).backward()
    assert z.grad is not None
    np.testing.assert_array_equal(z.grad, z_before.grad)


# A batch that counts twice because both the forward and the step take it in, or not at
# all because one of them skips it.
def test_each_update_takes_the_batch_in_once() -> None:
    codes = np.array([[0.0], [100.0]])
    quantizer = still("ema", codes, decay=0.5)
    for _ in range(3):
        output = quantizer(Tensor(np.array([[1.0], [3.0]])))
    quantizer.update(output.stats)
    assert quantizer.updates.item() == 1
    assert quantizer.cluster_size.numpy()[0] == 1.0  # half of two
    # Twice the same batch is what two batches are: 0.5 · 1 + 0.5 · 2, sum alike.
    quantizer.update(output.stats)
    assert quantizer.updates.item() == 2
    assert quantizer.cluster_size.numpy()[0] == 1.5
    assert quantizer.embed_sum.numpy()[0, 0] == 3.0
    assert quantizer.codebook.numpy()[0, 0] == 2.0


# NaN out of a square root: the distance of a vector to itself is 0, whose root has no
# derivative; rounded, it may even be below 0. Or out of a division by an empty cluster.
@hard
def test_distance_zero_and_empty_clusters_make_no_nan(learn: str) -> None:
    quantizer = make(learn, 16, 2, decay=0.0)
    point = normal(0, 1, 2)
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        for _ in range(4):  # 15 of 16 clusters are empty
            z = Tensor(np.repeat(point, 5, axis=0), requires_grad=True)
            output = quantizer(z)
            (output.loss + output.quantized.sum()).backward()
            quantizer.update(output.stats)
            assert z.grad is not None
            assert np.isfinite(z.grad.numpy()).all()
            assert np.isfinite(quantizer.codebook.numpy()).all()
    np.testing.assert_array_equal(quantizer.codebook.numpy()[output.indices], z)
    assert quantizer(z).loss.item() == 0.0


# The wrong code chosen in half precision: 2048 + 1 is 2048 there.
def test_half_precision_is_not_searched_in() -> None:
    codes = np.array([[2050.0], [2049.0]], np.float32)
    quantizer = still("ema", codes)
    assert quantizer(Tensor(np.array([[2049.25]], np.float32))).indices.tolist() == [1]
    with pytest.raises(TypeError, match="must be float32 or float64, got float16"):
        quantizer(Tensor(np.array([[2049.0]], np.float16)))


# An (N, M) array of distances, or one-hot rows as large: gigabytes for a picture.

N, M, D = 20_000, 16_384, 8
TABLE_BYTES = N * M * 4


def test_the_search_builds_no_table_of_all_distances() -> None:
    z, codes = normal(0, N, D), normal(1, M, D)
    nearest_code(z[:8], codes[:8])  # compiles
    assert peak_memory(lambda: nearest_code(z, codes)) < TABLE_BYTES / 50


@hard
def test_a_training_step_builds_no_table_of_all_distances(learn: str) -> None:
    def step(n: int, m: int) -> None:
        quantizer = make(learn, m, D, restart_below=0.5)
        z = Tensor(normal(0, n, D), requires_grad=True)
        output = quantizer(z)
        (output.loss + output.quantized.sum()).backward()
        quantizer.update(output.stats)  # the start, by k-means
        quantizer.update(output.stats)

    step(16, 8)  # compiles
    assert peak_memory(lambda: step(N, M)) < TABLE_BYTES / 50


# A perplexity that goes up with the batch size and down with the number of workers.
@pytest.mark.parametrize("name", ALL)
def test_perplexity_of_a_split_does_not_depend_on_the_batch_size(name: str) -> None:
    quantizer = make(name, 60, 3).eval()
    z = normal(0, 600, 3)
    quantizer.update(quantizer(Tensor(z)).stats)

    def measure(batch: int) -> tuple[float, int, float]:
        usage, of_batches = CodebookUsage(60), []
        for first in range(0, 600, batch):
            output = quantizer(Tensor(z[first : first + batch]))
            usage.add(output.indices)
            of_batches.append(output.stats.batch_perplexity)
        return usage.perplexity, usage.used, float(np.mean(of_batches))

    (split, used, single), *others = [measure(batch) for batch in (600, 100, 7)]
    for other_split, other_used, mean in others:
        assert other_split == split
        assert other_used == used
        assert mean < split - 1  # the batch's own figure is another, by another name
    # Two formulas, of 60 terms each.
    assert single == pytest.approx(split, rel=4 * 64 * 6 * 2.0**-53)


# Indices that do not come back: what was encoded is decoded into other codes, or those
# into other indices.
@given(
    m=st.integers(1, 30),
    d=st.integers(1, 6),
    shape=st.lists(st.integers(1, 4), max_size=3),
    name=st.sampled_from(ALL),
    training=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**32),
)
def test_indices_to_codes_to_indices_round_trips(
    m: int,
    d: int,
    shape: list[int],
    name: str,
    training: bool,
    dtype: str,
    seed: int,
) -> None:
    codes = normal(seed, m, d, dtype=dtype)
    assume(told_apart(codes))
    codes[m // 2] = codes[0]  # equal codes: the lowest stands for both
    quantizer = still(name, codes).train(training)
    output = quantizer(Tensor(normal(seed + 1, *shape, d, dtype=dtype)))
    found = quantizer.lookup(output.indices)
    assert found.numpy().tobytes() == output.codes.numpy().tobytes()
    if name != "soft" or not training:
        assert found.numpy().tobytes() == output.quantized.numpy().tobytes()
    again = quantizer(found)
    np.testing.assert_array_equal(again.indices, output.indices, strict=True)


# Weights shared by mistake: `[layer] * n` is one layer n times.
def test_a_layer_listed_twice_is_an_error() -> None:
    layer = nn.Conv2d(4, 4, 3, padding=1, rng=Stream(0))
    decoder = nn.Sequential(*[layer] * 2)
    model = VQVAE(nn.Sequential(nn.ReLU()), make("ema", 8, 4), decoder)
    for use in (model.parameters, model.state_dict, model.eval):
        with pytest.raises(
            ModuleError, match=r"decoder\.layers\.1 is the same object as decoder\.la"
        ):
            use()


# Grey images that nothing was ever run on.
@pytest.mark.parametrize("preset", ["conv", "dense"])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_images_train_alike(preset: str, channels: int) -> None:
    model = VQVAE.preset(
        preset, channels=channels, image_size=(8, 12), hidden=8, num_codes=6, code_dim=4
    )
    adam = optim.Adam(model.parameters(), lr=0.01)
    x = Tensor(Stream(0, "images").uniform((8, 8, 12, channels), -0.5, 0.5, "float32"))
    losses = []
    for _ in range(30):
        model.zero_grad()
        output = model(x)
        output.loss.backward()
        adam.step()
        model.quantizer.update(output.stats)
        losses.append(output.reconstruction_mse)
    assert output.reconstruction.shape == x.shape
    assert losses[-1] < losses[0]
    before = bits(model.quantizer)
    np.testing.assert_array_equal(
        model.decode(model.encode(x)), model.eval()(x).reconstruction
    )
    assert bits(model.quantizer) == before
