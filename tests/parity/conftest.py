from collections.abc import Iterator

import pytest
from peers import require


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Let PyTorch add up in one order, and not compete for the cores."""
    torch = require("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
