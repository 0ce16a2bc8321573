# SPDX-License-Identifier: Apache-2.0
"""Bring an ONNX model into the one form that the importer reads, with ONNX's own tools.

Real numbers instead of quantised ones, one opset, a batch of 1, constants folded, all shapes known.
"""

import contextlib
import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper, inliner, numpy_helper, version_converter

from unzipfpga.errors import ModelError
from unzipfpga.frontend.dequantise import Stated, dequantise
from unzipfpga.frontend.files import check_onnx, first_line, infer_shapes, several
from unzipfpga.frontend.supported import not_supported

# The opset that is read; models of other opsets are converted to it, older and newer ones.
OPSET = 21
OLDEST = 7  # where ONNX's version converter begins


@dataclass(frozen=True)
class Prepared:
    """A model in the form that the importer reads.

    Attributes
    ----------
    model : onnx.ModelProto
        Of opset `OPSET`, simplified; every node has a name.
    input : str
        The one input that is no constant.
    shapes : dict of str to tuple of int
        Of every tensor whose shape is known, at batch 1.
    stated : Stated
        What a quantised file says of its ranges.
    """

    model: onnx.ModelProto
    input: str
    shapes: dict[str, tuple[int, ...]]
    stated: Stated


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the default operator set that a model uses, 1 if it says none."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def unknown_operators(model: onnx.ModelProto) -> list[str]:
    """Return a line for every node with an operator or attribute that ONNX does not define."""
    version = opset_of(model)
    lines = []
    for node in model.graph.node:
        name = f"node '{node.name}' ({node.op_type}): "
        if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type):
            lines.append(name + not_supported(node.op_type, node.domain))
            continue
        try:
            allowed = onnx.defs.get_schema(node.op_type, version).attributes
        except onnx.defs.SchemaError:
            lines.append(f"{name}this operator is newer than the file's opset {version}")
            continue
        lines += [
            f"{name}attribute {attribute.name} is not known; supported: the attributes "
            + (", ".join(sorted(allowed)) or "(none)")
            for attribute in node.attribute
            if attribute.name not in allowed
        ]
    return lines


def prepare(model: onnx.ModelProto, where: str) -> Prepared:
    """Bring a model into the form that the importer reads; the model is changed.

    Parameters
    ----------
    model : onnx.ModelProto
        Opset 7 to the newest that the installed onnx knows, floating point or quantised.
    where : str
        For messages.

    Returns
    -------
    Prepared

    Raises
    ------
    ModelError
        If the model is not valid, or has inputs or outputs that are not supported.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    _check_opset(model, where)
    _name_nodes(model, where)
    _read_constants(model, where)
    check_onnx_operators(model, where)
    stated = dequantise(model, where)
    _drop_unused_domains(model)
    _split_sums(model)
    name = _fix_input(model, where)
    model = _convert_opset(model, where)
    _check_inference(model, where)
    # Once before the simplifier, which takes wrong shapes as they are, and once behind it.
    infer_shapes(model, where)
    model = simplify(model, where)
    return Prepared(model, name, _shapes(infer_shapes(model, where)), stated)


def _name_nodes(model: onnx.ModelProto, where: str) -> None:
    """Give every node a name of its own."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not isinstance(node.op_type, str) or not isinstance(node.name, str):
            raise ModelError(f"{where}: damaged: node {index} has a name that is not UTF-8 text")
        base = node.name or f"{node.op_type}_{index}"
        node.name, count = base, 1
        while node.name in taken:
            count += 1
            node.name = f"{base}_{count}"
        taken.add(node.name)


def check_onnx_operators(model: onnx.ModelProto, where: str) -> None:
    """Run ONNX's checker; where it fails, name all operators that it does not know.

    Raises
    ------
    ModelError
    """
    try:
        check_onnx(model, where)
    except ModelError:
        unknown = unknown_operators(model)
        if unknown:
            raise ModelError(several(where, unknown)) from None
        raise


def _read_constants(model: onnx.ModelProto, where: str) -> None:
    """Find damaged or truncated initializers before anything computes with them."""
    problems = []
    for initializer in model.graph.initializer:
        try:
            numpy_helper.to_array(initializer)
        except (ValueError, TypeError, KeyError) as error:
            unknown = isinstance(error, KeyError)
            reason = f"its data type is {error}" if unknown else first_line(error)
            problems.append(f"initializer '{initializer.name}' is damaged or truncated: {reason}")
    if model.graph.sparse_initializer:
        problems.append("it has sparse initializers; supported: dense ones")
    if problems:
        raise ModelError(several(where, problems))


def _drop_unused_domains(model: onnx.ModelProto) -> None:
    used = {node.domain for node in model.graph.node} | {"", "ai.onnx"}
    kept = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _split_sums(model: onnx.ModelProto) -> None:
    """Write a Sum as additions of two."""
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "Sum" or node.domain not in ("", "ai.onnx"):
            nodes.append(node)
            continue
        first, *others = node.input
        if not others:
            nodes.append(helper.make_node("Identity", [first], node.output, node.name))
        for index, other in enumerate(others, 1):
            last = index == len(others)
            name = node.name if last else f"{node.name}/{index}"
            outputs = list(node.output) if last else [f"{node.output[0]}/{index}"]
            nodes.append(helper.make_node("Add", [first, other], outputs, name))
            first = outputs[0]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _fix_input(model: onnx.ModelProto, where: str) -> str:
    """Set the batch to 1 and forget all shapes that follow from it; return the input's name."""
    constants = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        shown = ", ".join(value.name for value in (*inputs, *model.graph.output))
        raise ModelError(
            f"{where}: it has {len(inputs)} inputs and {len(model.graph.output)} outputs "
            f"({shown}); supported: one input, one output (cut the others off with "
            "onnx.utils.extract_model)"
        )
    value = inputs[0]
    tensor = value.type.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else 0 for d in tensor.shape.dim]
    if tensor.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(tensor.elem_type)
        raise ModelError(f"{where}: input '{value.name}' is {kind}; supported: FLOAT")
    if len(dims) not in (2, 4) or min(dims[1:]) < 1:
        shown = ", ".join(str(d.dim_value or d.dim_param or "?") for d in tensor.shape.dim)
        hint = "; write a 1-D network with height 1" if len(dims) == 3 else ""
        raise ModelError(
            f"{where}: input '{value.name}' has shape [{shown}]; supported: [N, C, H, W], "
            f"[N, H, W, C] or [N, features], all but N fixed{hint}"
        )
    tensor.shape.dim[0].dim_value = 1
    # Since IR version 4 a constant need not be an input too; the simplifier wants none there.
    kept = [v for v in model.graph.input if v.name == value.name]
    del model.graph.input[:], model.graph.value_info[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, 8)
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return str(value.name)


def _check_opset(model: onnx.ModelProto, where: str) -> None:
    version = opset_of(model)
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= version <= newest:
        raise ModelError(
            f"{where}: opset {version}; supported: {OLDEST} to {newest} (export it anew, or "
            "upgrade onnx for newer ones)"
        )


def _convert_opset(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    version = opset_of(model)
    if version == OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises RuntimeError and its own kinds
        unknown = unknown_operators(model)
        if unknown:
            raise ModelError(several(where, unknown)) from error
        raise ModelError(
            f"{where}: ONNX's version converter cannot take it from opset {version} to {OPSET}: "
            f"{first_line(error)}; export it with opset {OPSET}"
        ) from error


def _check_inference(model: onnx.ModelProto, where: str) -> None:
    """Refuse what only trains, which the simplifier would drop."""
    constants = {i.name: i for i in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                constants[node.output[0]] = attribute.t
    problems = []
    for node in model.graph.node:
        mode = constants.get(node.input[2]) if len(node.input) > 2 else None
        if node.op_type == "Dropout" and mode is not None and numpy_helper.to_array(mode).any():
            problems.append(
                f"node '{node.name}' (Dropout): training_mode is true; supported: inference "
                "(training_mode false)"
            )
    if problems:
        raise ModelError(several(where, problems))


def simplify(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Fold constants, drop what computes nothing and dead ends; fuse nothing.

    Raises
    ------
    ModelError
        With the first line of what the simplifier says.
    """
    # Here, because it loads sympy: commands that read no floating-point model do without.
    import onnxslim
    from onnxslim.core.pattern.registry import DEFAULT_FUSION_PATTERNS

    fusions = [name for name in DEFAULT_FUSION_PATTERNS if name.startswith("Fusion")]
    # What it fails to fold the importer refuses; it would say so on both streams of its own.
    logger = logging.getLogger("onnxslim")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            simple: onnx.ModelProto = onnxslim.slim(
                model,
                skip_fusion_patterns=fusions,
                skip_optimizations=["weight_tying", "subexpression_elimination"],
            )
    except Exception as error:  # whatever NumPy, sympy or ONNX Runtime raise
        raise ModelError(f"{where}: onnxslim cannot simplify it: {first_line(error)}") from error
    _keep_order(simple, [node.name for node in model.graph.node])
    _name_nodes(simple, where)
    del simple.graph.value_info[:]
    for output in simple.graph.output:
        output.type.tensor_type.ClearField("shape")
    return simple


def _keep_order(model: onnx.ModelProto, names: list[str]) -> None:
    """Put the simplifier's nodes into the source's order, new ones behind what they read."""
    given = {name: index for index, name in enumerate(names)}
    place: dict[str, float] = {}
    nodes = list(model.graph.node)
    keys = []
    for node in nodes:
        behind = max((place.get(name, -1.0) for name in node.input), default=-1.0)
        key = max(float(given.get(node.name, -1)), behind)
        place.update(dict.fromkeys(node.output, key))
        keys.append(key)
    order = sorted(range(len(nodes)), key=keys.__getitem__)  # stable: equal keys stay in order
    del model.graph.node[:]
    model.graph.node.extend(nodes[index] for index in order)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    graph = model.graph
    infos: Iterable[onnx.ValueInfoProto] = (*graph.input, *graph.value_info, *graph.output)
    shapes = {}
    for info in infos:
        dims = info.type.tensor_type.shape.dim
        if all(d.HasField("dim_value") and d.dim_value > 0 for d in dims) and dims:
            shapes[info.name] = tuple(d.dim_value for d in dims)
    return shapes
