# SPDX-License-Identifier: Apache-2.0
"""What several sub-commands share: images by name, progress bars, JSON."""

import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unzipfpga.frontend.files import write_atomically
from unzipfpga.frontend.images import find_images

DATA_HELP = (
    "a folder of images; an .npy or .npz file (array `images`: uint8 pixels, or preprocessed in "
    "the model's layout); or `mnist`"
)

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


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write an .npz file, whole or not at all.

    Raises
    ------
    ModelError
        If it cannot be written.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def mnist_images(
    part: Literal["train", "test"], preprocess: Mapping[str, Any], count: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return MNIST's first images, preprocessed as the model says, and their labels.

    Parameters
    ----------
    part : {"train", "test"}
    preprocess : mapping
        As the `unzip.preprocess` metadata hold it; MNIST's own where it says nothing of pixels.
    count : int, optional
        How many; None for all.

    Returns
    -------
    images : float32 array [count, 1, 28, 28]
    labels : int64 array [count]
    """
    found = find_images("mnist", preprocess, (1, 28, 28), part=part, limit=count)
    assert found.labels is not None
    return found.all(), found.labels
