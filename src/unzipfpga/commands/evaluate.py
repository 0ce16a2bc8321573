# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga eval`: accuracy of a converted model on its integers, and of its source in float."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from unzipfpga.commands.common import load_images, mnist_images, print_json, progress
from unzipfpga.data.wheel import sha256_of
from unzipfpga.errors import DataError, ModelError
from unzipfpga.frontend import Network, read_converted
from unzipfpga.frontend.files import first_line
from unzipfpga.source_tree import import_from_tree

BATCH = 250


def integer_logits(path: Path, images: NDArray[np.float32]) -> NDArray[np.int32]:
    """Run the golden model.

    Parameters
    ----------
    path : pathlib.Path
        Converted model.
    images : float32 array [N, ...]
        Preprocessed.

    Returns
    -------
    int32 array [N, classes]
    """
    golden = import_from_tree("verif.refmodel.model")
    try:
        model = golden.load(path)
        with progress("golden model", len(images)) as advance:
            parts = []
            for first in range(0, len(images), BATCH):
                parts.append(model.run(images[first : first + BATCH]))
                advance(len(parts[-1]))
    except golden.ModelError as error:
        raise ModelError(f"{path}: the golden model refuses it: {error}") from error
    return np.concatenate(parts)


def float_logits(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a floating-point ONNX model in ONNX Runtime; same shapes as `integer_logits`."""
    try:
        session = onnxruntime.InferenceSession(path)
        (source,) = session.get_inputs()
        with progress("floating point", len(images)) as advance:
            parts = []
            for first in range(0, len(images), BATCH):
                batch = images[first : first + BATCH]
                parts.append(session.run(None, {source.name: batch})[0])
                advance(len(batch))
    except Exception as error:  # the runtime's exceptions have no other base
        raise ModelError(f"{path}: ONNX Runtime refuses it: {first_line(error)}") from error
    return np.concatenate(parts)


def find_source(network: Network, converted: Path, given: Path | None) -> Path | None:
    """Return the floating-point model that a network was converted from, None if not found.

    Raises
    ------
    ModelError
        If the one given is missing or has another SHA-256.
    """
    path = given or converted.parent / network.source.get("file", "")
    if not path.is_file():
        if given is not None:
            raise ModelError(f"{given}: no such file")
        return None
    if sha256_of(path) == network.source.get("sha256"):
        return path
    if given is not None:
        raise ModelError(
            f"{given}: not the model that {converted} was made from (its SHA-256 is not "
            f"{network.source.get('sha256')})"
        )
    return None


def accuracy(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the share of images whose largest logit (the first of equals) is the label's."""
    return float((logits.argmax(axis=1) == labels).mean())


def _labelled_images(
    network: Network, data: str, limit: int | None
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    if data == "mnist":
        images, labels = mnist_images("test", network.preprocess, limit)
    else:
        found, found_labels = load_images(Path(data))
        if found_labels is None or found_labels.shape != found.shape[:1]:
            raise DataError(f"{data}: expected an array `labels` with one label per image")
        images, labels = found[:limit].astype(np.float32), found_labels[:limit]
    wanted = network.tensors[network.input].shape
    if images.shape[1:] != wanted or not len(images):
        raise DataError(
            f"{data}: images have shape {list(images.shape)}, the model takes "
            f"[N, {', '.join(map(str, wanted))}] with N >= 1"
        )
    return images, labels


def eval_command(
    converted: Annotated[Path, typer.Argument(help="Converted model.")],
    data: Annotated[
        str,
        typer.Option(
            help="`mnist` for its test images, or an .npz file with `images` (preprocessed, NCHW) "
            "and `labels`."
        ),
    ],
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use the first images only; all if left out.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="Floating-point model; looked for next to the converted one."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Print the accuracy of a converted model (golden model) and of its floating-point source."""
    network = read_converted(converted)
    images, labels = _labelled_images(network, data, limit)
    float_path = find_source(network, converted, source)
    integers = integer_logits(converted, images)
    report: dict[str, Any] = {
        "model": str(converted),
        "data": data,
        "images": len(images),
        "integer_accuracy": accuracy(integers, labels),
        "float_model": None if float_path is None else str(float_path),
        "float_accuracy": None,
        "top1_agreement": None,
    }
    if float_path is not None:
        reals = float_logits(float_path, images)
        report["float_accuracy"] = accuracy(reals, labels)
        report["top1_agreement"] = accuracy(integers, reals.argmax(axis=1))
    if as_json:
        print_json(report)
        return
    table = Table(title=f"{converted.name} on {len(images)} images of {data}")
    table.add_column("model")
    table.add_column("accuracy", justify="right")
    table.add_row("integer (golden model)", f"{100 * report['integer_accuracy']:.2f} %")
    if float_path is not None:
        table.add_row("floating point", f"{100 * report['float_accuracy']:.2f} %")
        table.add_row("same top-1 answer", f"{100 * report['top1_agreement']:.2f} %")
    console = Console()
    console.print(table)
    if float_path is None:
        console.print(
            f"no floating-point model: {network.source.get('file')} is not next to "
            f"{converted.name}, or is another version; pass --source",
            soft_wrap=True,
        )
