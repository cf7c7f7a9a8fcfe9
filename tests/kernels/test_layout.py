"""Panels are what they are said to be, beyond the last row and column as well."""

import numpy as np
import pytest
from kernel_case import draw
from tinyvq_kernels._layout import pack_columns, pack_turned


@pytest.mark.parametrize("columns", [1, 3, 16])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 7, 8, 9, 17])
def test_panels_are_a_matrix_in_order(rows: int, columns: int) -> None:
    matrix, width = draw("matrix", rows, columns), 8
    for turned in (False, True):
        as_read = 0.5 * matrix.T if turned else matrix  # (length, across)
        length, across = as_read.shape
        panels = -(-across // width)
        wanted = np.zeros((length, panels * width))
        wanted[:, :across] = as_read
        packed = np.full((panels, length, width), np.nan)
        if turned:
            pack_turned(matrix.ravel(), rows, columns, 0.5, width, packed.ravel())
        else:
            pack_columns(matrix.ravel(), rows, columns, width, packed.ravel())
        got = packed.transpose(1, 0, 2).reshape(length, -1)
        np.testing.assert_array_equal(got, wanted)
