# SPDX-License-Identifier: Apache-2.0
"""What several sub-commands share: images by name, progress bars, JSON."""

import json
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unzipfpga.data import load_mnist, normalise
from unzipfpga.data.mnist import MEAN, STD
from unzipfpga.errors import DataError

DomainOption = Annotated[
    str,
    typer.Option(
        metavar="auto|weights|codes",
        help="What the PEs multiply in layers with codes: activations by generated weights, "
        "projections of the activations by alphas, or whatever is estimated to be faster.",
    ),
]
DomainOfOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LAYER=DOMAIN", help="The same for one layer; several times for several layers."
    ),
]

TABLE_WIDTH = 110  # at least: a cut table helps no one

# Work that is done sooner needs no progress bar.
PATIENCE_SECONDS = 2.0


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error, if that is a terminal, after two seconds of work.

    Yields a function that is called with the number of items done since its last call.
    """
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(what, total=total)
    begin = time.monotonic()
    started = False

    def advance(count: int) -> None:
        nonlocal started
        bar.advance(task, count)
        if not started and time.monotonic() - begin > PATIENCE_SECONDS:
            started = True
            bar.start()

    try:
        yield advance
    finally:
        if started:
            bar.stop()


def print_json(value: Any) -> None:
    """Write one JSON document to standard output."""
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def load_images(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Read `images` (or the only array), and `labels` if there are any, from an .npz file.

    Raises
    ------
    DataError
        If the file is missing, damaged, or does not say which array holds the images.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected an .npz file or the word mnist")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = list(arrays)
            if "images" not in names and len(names) != 1:
                raise DataError(
                    f"{path}: it holds {', '.join(names) or 'nothing'}; expected an array `images`"
                )
            images = arrays["images" if "images" in names else names[0]]
            labels = arrays["labels"] if "labels" in names else None
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not an .npz file, or a damaged one ({error})") from error
    return images, labels


def mnist_images(
    part: str, preprocess: dict[str, Any], count: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return MNIST's first images, preprocessed as the model says, and their labels.

    Parameters
    ----------
    part : {"train", "test"}
    preprocess : dict
        `mean` and `std` are lists of one number; MNIST's own where they are missing.
    count : int, optional
        How many; None for all.

    Returns
    -------
    images : float32 array [count, 1, 28, 28]
    labels : uint8 array [count]
    """
    data = load_mnist()
    images = getattr(data, f"{part}_images")[:count]
    labels = getattr(data, f"{part}_labels")[:count]
    try:
        (mean,), (std,) = preprocess.get("mean", [MEAN]), preprocess.get("std", [STD])
        return normalise(images, float(mean), float(std)), labels
    except (TypeError, ValueError) as error:
        raise DataError(
            "the model's unzip.preprocess metadata (mean, std) is not that of one grey channel: "
            f"mean {preprocess.get('mean')}, std {preprocess.get('std')}"
        ) from error
