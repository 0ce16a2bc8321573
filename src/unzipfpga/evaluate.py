# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a converted model: in floating point, in integers (golden model), and in RTL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from unzipfpga.compiler import compile_model
from unzipfpga.data.wheel import sha256_of
from unzipfpga.errors import DataError, ModelError
from unzipfpga.frontend import Network, read_converted, run_host
from unzipfpga.frontend.convert import Track, untracked
from unzipfpga.frontend.files import first_line
from unzipfpga.frontend.host import Step
from unzipfpga.frontend.images import ImageSet
from unzipfpga.sim import run_network
from unzipfpga.source_tree import import_from_tree

BATCH = 250
BATCH_VALUES = 1 << 24  # of a batch's input, at most
# More classes than this: the five largest outputs count, too.
FEW_CLASSES = 10

Logits = Callable[[NDArray[np.float32]], NDArray[Any]]


def _batch(shape: tuple[int, ...]) -> int:
    return max(1, min(BATCH, BATCH_VALUES // int(np.prod(shape))))


def golden_model(path: Path) -> Logits:
    """Return the golden model of a converted file as a function.

    Parameters
    ----------
    path : pathlib.Path
        Converted model.

    Returns
    -------
    callable
        From float32 [N, ...], preprocessed, to int32 [N, outputs].

    Raises
    ------
    ModelError
        If the golden model refuses the file, or a run.
    """
    golden = import_from_tree("verif.refmodel.model")

    def refused(error: Exception) -> ModelError:
        return ModelError(f"{path}: the golden model refuses it: {error}")

    try:
        model = golden.load(path)
    except golden.ModelError as error:
        raise refused(error) from error

    def run(images: NDArray[np.float32]) -> NDArray[Any]:
        try:
            outputs: NDArray[Any] = model.run(images)
        except golden.ModelError as error:
            raise refused(error) from error
        return outputs.reshape(len(outputs), -1)

    return run


def float_runtime(path: Path, layout: str = "NCHW") -> Logits:
    """Return an ONNX model in ONNX Runtime as a function.

    Parameters
    ----------
    path : pathlib.Path
        One input, one output.
    layout : {"NCHW", "NHWC"}
        In which the model takes images; the function always takes NCHW.

    Returns
    -------
    callable
        From float32 [N, ...] to float32 [N, outputs].

    Raises
    ------
    ModelError
        If the runtime refuses the file, or a run.
    """

    def refused(error: Exception) -> ModelError:
        return ModelError(f"{path}: ONNX Runtime refuses it: {first_line(error)}")

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (source,) = session.get_inputs()
    except Exception as error:  # the runtime's exceptions have no other base
        raise refused(error) from error
    fixed = source.shape[0] if source.shape and isinstance(source.shape[0], int) else None

    def run(images: NDArray[np.float32]) -> NDArray[Any]:
        if layout == "NHWC" and images.ndim == 4:
            images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        size = fixed or max(1, len(images))
        parts = []
        try:
            for first in range(0, len(images), size):
                part = images[first : first + size]
                # A model of a fixed batch: the last one is filled up with what it ends with.
                missing = size - len(part)
                full = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
                parts.append(session.run(None, {source.name: full})[0][: len(part)])
        except Exception as error:
            raise refused(error) from error
        outputs = np.concatenate(parts)
        return outputs.reshape(len(outputs), -1)

    return run


def _logits(run: Logits, images: NDArray[np.float32], track: Track, what: str) -> NDArray[Any]:
    size = _batch(images.shape[1:])
    with track(what, len(images)) as advance:
        parts = []
        for first in range(0, len(images), size):
            parts.append(run(images[first : first + size]))
            advance(len(parts[-1]))
    return np.concatenate(parts)


def integer_logits(
    path: Path, images: NDArray[np.float32], track: Track = untracked
) -> NDArray[np.int32]:
    """Run the golden model on preprocessed images [N, ...]; int32 [N, outputs]."""
    return _logits(golden_model(path), images, track, "golden model")


def float_logits(
    path: Path, images: NDArray[np.float32], track: Track = untracked
) -> NDArray[np.float32]:
    """Run an ONNX model in ONNX Runtime on images in its own layout; float32 [N, outputs]."""
    return _logits(float_runtime(path), images, track, "floating point")


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


def accuracy(logits: NDArray[Any], labels: NDArray[Any], top: int = 1) -> float:
    """Return the share of images whose label is among the `top` largest outputs.

    Of equal outputs the first counts as the largest.
    """
    if top == 1:
        return float((logits.argmax(axis=1) == labels).mean())
    # Unsigned integers would not bear a minus sign; logits are int32 or float32.
    largest = np.argsort(-logits, axis=1, kind="stable")[:, :top]
    return float((largest == np.asarray(labels)[:, np.newaxis]).any(axis=1).mean())


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model answered.

    Attributes
    ----------
    labels : int64 array [N]
    integers : int32 array [N, outputs]
        Of the golden model.
    scale : float
        Real value of one integer step: `dequantised` is integers * scale.
    reals : float32 array [N, outputs] or None
        Of the floating-point model, if there is one.
    rtl_indices : int64 array [n] or None
        Which images ran in RTL.
    rtl : int32 array [n, outputs] or None
        What the RTL gave for them.
    shape : tuple of int
        Of one image's outputs, as the host's steps take them.
    host : sequence of dict
        What is left to the host behind them, see `unzipfpga.frontend.run_host`.
    """

    labels: NDArray[np.int64]
    integers: NDArray[np.int32]
    scale: float
    reals: NDArray[np.float32] | None = None
    rtl_indices: NDArray[np.int64] | None = None
    rtl: NDArray[np.int32] | None = None
    shape: tuple[int, ...] = (-1,)
    host: Sequence[Step] = ()

    @property
    def dequantised(self) -> NDArray[np.float32]:
        """The golden model's outputs as real numbers."""
        return self.integers.astype(np.float32) * np.float32(self.scale)

    @property
    def results(self) -> NDArray[np.float32]:
        """These behind the host's steps: what `reals` are to be compared with."""
        values = self.dequantised.reshape(len(self.integers), *self.shape)
        return run_host(self.host, values).reshape(self.integers.shape)

    @property
    def tops(self) -> tuple[int, ...]:
        """How many of the largest outputs count: 1, and 5 where there are more than ten."""
        return (1, 5) if self.integers.shape[1] > FEW_CLASSES else (1,)

    @property
    def rtl_mismatches(self) -> int | None:
        """How many integers of the RTL differ from the golden model's; None if it did not run."""
        if self.rtl is None or self.rtl_indices is None:
            return None
        return int(np.count_nonzero(self.rtl != self.integers[self.rtl_indices]))


def check_labels(network: Network, images: ImageSet) -> NDArray[np.int64]:
    """Return the labels of a set, refusing those that are no output of the network.

    Raises
    ------
    DataError
        If labels are missing, or do not fit the outputs: names both.
    """
    shape = network.tensors[network.output].shape
    outputs = int(np.prod(shape))
    if outputs != shape[0]:
        raise DataError(f"the model's output has shape [N, {', '.join(map(str, shape))}]: no class")
    if images.labels is None:
        raise DataError(f"{images.what}: labels are missing")
    if images.classes is not None and len(images.classes) != outputs:
        raise DataError(
            f"{images.what}: {len(images.classes)} classes "
            f"({', '.join(images.classes[:5])}{', ...' if len(images.classes) > 5 else ''}), the "
            f"model has {outputs} outputs; name the classes of all outputs with --classes FILE"
        )
    low, high = int(images.labels.min()), int(images.labels.max())
    if low < 0 or high >= outputs:
        raise DataError(
            f"{images.what}: labels are {low} to {high}, the model has the outputs 0 to "
            f"{outputs - 1}"
        )
    return images.labels


def evaluate(
    converted: Path,
    images: ImageSet,
    *,
    source: Path | None = None,
    rtl: int = 0,
    config: str | None = None,
    sim: str = "verilator",
    track: Track = untracked,
) -> Evaluation:
    """Run a set of labelled images through a converted model.

    Parameters
    ----------
    converted : pathlib.Path
    images : ImageSet
        Labelled, see `unzipfpga.frontend.images.find_images`.
    source : pathlib.Path, optional
        The floating-point model, see `find_source`.
    rtl : int
        How many images, evenly spread over the set, run on the RTL in simulation.
    config : str
        Preset of configs.yaml that the RTL is built from; needed if `rtl` is not 0.
    sim : {"verilator", "icarus"}
    track : callable
        Given a text and a total, returns a context manager of a function that is called with the
        number of items done since its last call: a progress bar.

    Returns
    -------
    Evaluation

    Raises
    ------
    UnzipError
        Whatever is wrong with the model, the images or the simulation.
    """
    network = read_converted(converted)
    labels = check_labels(network, images)
    if rtl and config is None:
        raise DataError("to run images in RTL, name a preset of configs.yaml (--config)")
    golden = golden_model(converted)
    layout = str(network.preprocess.get("layout", "NCHW"))
    runtime = None if source is None else float_runtime(source, layout)
    count = min(rtl, images.count)
    indices = np.arange(count, dtype=np.int64) * images.count // max(1, count)
    # Before hours of images: what cannot be compiled is said at once.
    compiled = compile_model(converted, config) if count and config is not None else None
    integers, reals, kept = [], [], []
    done = 0
    with track("images", images.count) as advance:
        for batch in images.batches(_batch(network.tensors[network.input].shape)):
            integers.append(golden(batch))
            if runtime is not None:
                reals.append(runtime(batch))
            own = indices[(indices >= done) & (indices < done + len(batch))]
            kept.append(batch[own - done])
            done += len(batch)
            advance(len(batch))
    found = np.concatenate(integers)
    rtl_outputs = None
    if compiled is not None:
        with track("RTL", count) as advance:
            last = 0

            def report(total: int) -> None:
                nonlocal last
                advance(total - last)
                last = total

            run = run_network(compiled, np.concatenate(kept), sim=sim, progress=report)
        rtl_outputs = run.outputs.reshape(count, -1)
        if rtl_outputs.shape[1] != found.shape[1]:
            raise ModelError(
                f"{converted}: the RTL gave {rtl_outputs.shape[1]} outputs, the golden model "
                f"{found.shape[1]}"
            )
    return Evaluation(
        labels,
        found,
        network.tensors[network.output].scale,
        np.concatenate(reals) if reals else None,
        indices if rtl_outputs is not None else None,
        rtl_outputs,
        network.tensors[network.output].shape,
        network.host,
    )
