# SPDX-License-Identifier: Apache-2.0
"""Running ONNX models in ONNX Runtime, inner tensors included, a batch at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from unzipfpga.errors import ModelError
from unzipfpga.frontend.files import first_line

# Of all tensors of a batch together: bounds memory, where all of them are kept.
BATCH_BYTES = 1 << 28
BATCH_IMAGES = 50


def batch_size(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return how many images to run at a time, 1 to 50, so that all tensors take some 256 MB."""
    each = 4 * sum(prod(shape) for shape in shapes.values())
    return max(1, min(BATCH_IMAGES, BATCH_BYTES // each))


def run_tensors(
    model: onnx.ModelProto,
    names: Sequence[str],
    images: NDArray[np.float32],
    batch: int,
    advance: Callable[[int], None] = lambda _count: None,
) -> Iterator[dict[str, NDArray[Any]]]:
    """Run a model and yield the named tensors, batch after batch.

    Parameters
    ----------
    model : onnx.ModelProto
        One input. It is not changed.
    names : sequence of str
        Float tensors, the input, inner ones and outputs alike.
    images : float32 array [N, ...]
    batch : int
    advance : callable
        Called with the number of images of each batch that is done.

    Raises
    ------
    ModelError
        If ONNX Runtime refuses the model.
    """
    (source,) = (value.name for value in model.graph.input)
    wanted = onnx.ModelProto()
    wanted.CopyFrom(model)
    del wanted.graph.output[:]
    computed = [name for name in dict.fromkeys(names) if name != source]
    wanted.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in computed
    )
    try:
        if computed:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            # Inner tensors keep the values that the model's nodes say; nothing is fused over them.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            session = onnxruntime.InferenceSession(
                wanted.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        for first in range(0, len(images), batch):
            part = images[first : first + batch]
            values = session.run(computed, {source: part}) if computed else []
            yield dict(zip(computed, values, strict=True)) | {source: part}
            advance(len(part))
    except Exception as error:  # the runtime's exceptions have no other base
        raise ModelError(f"ONNX Runtime refuses the model: {first_line(error)}") from error
