# SPDX-License-Identifier: Apache-2.0
"""The last steps of a network that the engine leaves to the host: softmax, layout of the output."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from unzipfpga.errors import ModelError
from unzipfpga.frontend.prepare import OPSET

# Operator -> the attribute that a step has, besides `name` and `op`.
STEPS = {
    "LogSoftmax": "axis",
    "Reshape": "shape",
    "Sigmoid": None,
    "Softmax": "axis",
    "Transpose": "perm",
}
# Operators of a source that become one of these or nothing.
SOURCES = frozenset({*STEPS, "Dropout", "Flatten", "Identity", "Squeeze", "Unsqueeze"})
# What the importer reads itself, where it comes in front of all other steps.
_PASSING = ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")

Step = dict[str, Any]


def take_host_steps(
    nodes: Sequence[onnx.NodeProto], output: str, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[list[onnx.NodeProto], str, list[Step]]:
    """Split the steps that end a network off.

    Parameters
    ----------
    nodes : sequence of onnx.NodeProto
        In order of execution.
    output : str
        The network's output.
    shapes : mapping of str to tuple of int
        Of all tensors, at batch 1.

    Returns
    -------
    nodes : list of onnx.NodeProto
        Those left.
    output : str
        What they compute.
    steps : list of dict
        In order: `op`, `name` and the one of `axis`, `shape` (0: the batch) and `perm` that it has.
    """
    made_by = {name: node for node in nodes for name in node.output}
    uses: dict[str, int] = {}
    for node in nodes:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    chain: list[onnx.NodeProto] = []
    name = output
    while name in made_by and made_by[name].op_type in SOURCES:
        if chain and uses[name] > 1:
            break
        chain.append(made_by[name])
        name = chain[-1].input[0]
    while chain and chain[-1].op_type in _PASSING:
        name = chain.pop().output[0]
    if not chain or any(shapes.get(n.output[0], (0,))[0] != 1 for n in chain):
        return list(nodes), output, []
    taken = {node.name for node in chain}
    steps = [step for node in reversed(chain) if (step := _step(node, shapes)) is not None]
    return [node for node in nodes if node.name not in taken], name, steps


def _step(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> Step | None:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type in ("Dropout", "Identity"):
        return None
    step: Step = {"op": node.op_type, "name": node.name}
    if node.op_type in ("Softmax", "LogSoftmax"):
        return step | {"axis": int(attributes.get("axis", -1))}
    if node.op_type == "Transpose":
        rank = len(shapes[node.output[0]])
        return step | {"perm": list(attributes.get("perm", range(rank)[::-1]))}
    if node.op_type == "Sigmoid":
        return step
    return step | {"op": "Reshape", "shape": [0, *shapes[node.output[0]][1:]]}


def check_host_steps(steps: Any, where: str) -> list[Step]:
    """Return the steps of a file's metadata.

    Raises
    ------
    ModelError
        If they are not what `convert` writes.
    """
    for step in steps if isinstance(steps, list) else [None]:
        given = step if isinstance(step, dict) else {}
        operator = str(given.get("op"))
        key = STEPS.get(operator)
        if operator not in STEPS or set(given) != {"op", "name", *([key] if key else [])}:
            raise ModelError(
                f"{where}: unzip.host holds {step}; expected steps of {', '.join(sorted(STEPS))} "
                "as `unzipfpga convert` writes them"
            )
    return list(steps)


def run_host(steps: Sequence[Step], values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Apply the host's steps to what the engine computes, dequantised.

    Parameters
    ----------
    steps : sequence of dict
        `host` of a `Network` or `FloatGraph`.
    values : float array [N, ...]

    Returns
    -------
    float32 array [N, ...]
        What the source model returns.
    """
    result: NDArray[np.float32] = values.astype(np.float32)
    for step in steps:
        if step["op"] == "Reshape":
            result = result.reshape(len(result), prod(step["shape"][1:]))
            result = result.reshape(len(result), *step["shape"][1:])
            continue
        key = STEPS[step["op"]]
        node = helper.make_node(step["op"], ["x"], ["y"], **({key: step[key]} if key else {}))
        graph = helper.make_graph(
            [node],
            "host",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        (output,) = ReferenceEvaluator(model).run(None, {"x": result})
        result = np.asarray(output, np.float32)
    return result


def describe(steps: Sequence[Step]) -> str:
    """Return the steps as text: "Softmax 'probabilities', Transpose 'out'"."""
    return ", ".join(f"{step['op']} '{step['name']}'" for step in steps)
