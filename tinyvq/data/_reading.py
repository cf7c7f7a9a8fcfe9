"""Open files that somebody else made, so that only a DataError can come of it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tinyvq.errors import DataError


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read; DataError where it is none, or cannot be read to its end."""
    try:
        # Opening a pipe would wait for a writer that may never come.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError(f"cannot read {path}: it is not a file")
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise DataError(f"cannot read {path}: not enough memory") from error
