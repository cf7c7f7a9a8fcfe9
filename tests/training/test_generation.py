"""New images of codes and noise, held to what is written out here."""

from typing import Any

import numpy as np
from models.prior_examples import make

from tinyvq.data import from_unit, to_unit
from tinyvq.models import VQVAE
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.training.generation import (
    SamplingOptions,
    complete,
    decode,
    draw_codes,
    interpolate,
    nearest_images,
    upper_part,
)
from tinyvq.training.prior_classes import drawn_classes


def test_between_two_images_the_codes_vectors_are_mixed(monkeypatch: Any) -> None:
    model = VQVAE.preset("conv", channels=1, hidden=4, code_dim=2, num_codes=40)
    with model.quantizer.codebook.mutate() as codebook:
        codebook[...] = Stream(0, "codes").normal((40, 2), "float32")
    first, last = ends = np.array([[[0, 1], [2, 3]], [[4, 5], [6, 7]]])
    monkeypatch.setattr(model, "encode", lambda x: ends)
    book = model.quantizer.codebook.numpy().astype(np.float64)
    expected = np.empty((5, 2, 2), np.int64)
    for step, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        mixed = (1 - share) * book[first] + share * book[last]
        distances = np.square(mixed[..., None, :] - book).sum(axis=-1)
        expected[step] = distances.argmin(axis=-1)
    assert len(np.unique(expected, axis=0)) > 2
    made = interpolate(model, np.zeros((2, 8, 8, 1), np.uint8), 5)
    np.testing.assert_array_equal(made, from_unit(model.decode(expected).numpy()))


def test_the_upper_rows_of_a_grid_that_is_no_square_are_kept() -> None:
    """2 × 3 codes, of which one row, three codes, is given."""
    model = VQVAE.preset("conv", channels=1, hidden=4, code_dim=2, num_codes=7)
    prior = make("transformer", (2, 3), num_classes=3)
    images = Stream(0, "pixels").integers(256, (4, 8, 12, 1)).astype(np.uint8)
    given = model.encode(Tensor(to_unit(images)))
    assert given.shape == (4, 2, 3)
    how = SamplingOptions()
    labels = drawn_classes(prior, given, 3, how.seed, how.temperature)
    codes = draw_codes(prior, labels, 4, how, given, rows=1)
    np.testing.assert_array_equal(codes[:, 0], given[:, 0])
    assert (codes[:, 1] != given[:, 1]).any()
    made = complete(prior, model, images, None, 0.5, how)
    np.testing.assert_array_equal(made, decode(model, codes))
    left = upper_part(images, 0.5, code_rows=2)
    np.testing.assert_array_equal(left[:, :4], images[:, :4])
    assert (left[:, 4:] == 128).all()


def test_the_nearest_image_is_nearest_by_all_pixels() -> None:
    some, among = (
        Stream(seed, "pixels").integers(256, (count, 5, 6, 3)).astype(np.uint8)
        for seed, count in ((0, 7), (1, 30))
    )
    squares = np.square(some[:, None].astype(np.float64) - among).sum(axis=(2, 3, 4))
    np.testing.assert_array_equal(nearest_images(some, among), squares.argmin(axis=1))
