# SPDX-License-Identifier: Apache-2.0
"""Read an ONNX model into a `FloatGraph`.

Batch normalisation, constant factors and addends, activations, padding and residual additions are
folded into the convolution or fully connected layer before or behind them; where none can take
them, they become a layer of one weight per channel. Transposes are followed, not computed: every
tensor of the source is a `View` of one that is stored as [N, C, H, W].

Whatever cannot be expressed that way is refused: all nodes at once, each with its operator and
attribute, and with what is supported.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from unzipfpga.errors import ModelError
from unzipfpga.frontend.files import load_onnx, several
from unzipfpga.frontend.graph import FloatGraph
from unzipfpga.frontend.host import Step, take_host_steps
from unzipfpga.frontend.prepare import prepare
from unzipfpga.frontend.reading.builder import MAP, NONE, Refusal, View
from unzipfpga.frontend.reading.elementwise import Elementwise
from unzipfpga.frontend.reading.order import Order
from unzipfpga.frontend.reading.pools import Pools
from unzipfpga.frontend.reading.weighted import Weighted
from unzipfpga.frontend.supported import PASSING


class _Importer(Weighted, Pools, Order, Elementwise):
    """One walk over a prepared model's nodes."""

    def run(self, preprocess: dict[str, Any]) -> FloatGraph:
        graph = self.prepared.model.graph
        nodes = [node for node in graph.node if node.op_type != "Constant"]
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    self.constants[node.output[0]] = numpy_helper.to_array(attribute.t)
        nodes, output, self.graph.host = take_host_steps(nodes, graph.output[0].name, self.source)
        self.graph.output = output
        self.read_input(nodes, preprocess)
        for node in nodes:
            self.uses.update(name for name in node.input if name)
        self.uses[output] += 1
        for node in nodes:
            try:
                self.read(node)
            except Refusal as refusal:
                self.problems.append(str(refusal))
                self.go_on_behind(node)
        if self.problems:
            raise ModelError(several(self.where, self.problems))
        self.finish(output)
        return self.graph

    def read_input(self, nodes: Sequence[onnx.NodeProto], preprocess: dict[str, Any]) -> None:
        """Find out in which order the input's axes are, from what reads it.

        Transposes and operators that treat one axis as the channels tell; others pass values on.
        """
        name = self.prepared.input
        shape = self.source[name]
        reached, last, first = {name}, False, False
        for node in nodes:
            if reached.isdisjoint(node.input):
                continue
            channels = self.channel_axis(node)
            last, first = last or channels == 3, first or channels == 1
            if channels is None or node.op_type == "Concat":
                reached.update(node.output)
        last = len(shape) == 4 and last and not first
        view = View(name, (0, 2, 3, 1) if last else MAP[: len(shape)])
        self.views[name] = view
        self.graph.shapes[name] = tuple(shape[i] for i in np.argsort(view.perm))[1:]
        self.graph.preprocess = preprocess | {"layout": "NHWC" if last else "NCHW"}

    def channel_axis(self, node: onnx.NodeProto) -> int | None:
        """Return which axis of a map a node treats as the channels, None if it does not tell."""
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type in ("Add", "Clip", "Div", "Mul", "Pad", "Relu", "Sub", *PASSING):
            return None
        if node.op_type == "Transpose":
            perm = tuple(attributes.get("perm", ()))
            return {(0, 3, 1, 2): 3, (0, 2, 3, 1): 1}.get(perm)
        if node.op_type == "Concat":
            return int(attributes["axis"]) % 4
        if node.op_type == "MatMul":
            return 3
        if node.op_type == "ReduceMean" and len(node.input) > 1:
            axes = self.constants.get(node.input[1], np.zeros(0))
            return 3 if sorted(axes.ravel() % 4) == [1, 2] else 1
        return 1

    def read(self, node: onnx.NodeProto) -> None:
        if not self.unknown.isdisjoint(node.input):
            self.unknown.update(node.output)
            self.attributes(node)
            return
        attributes = self.attributes(node)
        handlers: dict[str, Callable[[onnx.NodeProto, dict[str, Any]], None]] = {
            "Add": self.on_add,
            "AveragePool": self.on_averagepool,
            "BatchNormalization": self.on_batchnormalization,
            "Clip": self.on_clip,
            "Concat": self.on_concat,
            "Conv": self.on_conv,
            "Div": self.on_factor,
            "Dropout": self.on_passing,
            "Flatten": self.on_reshape,
            "Gemm": self.on_gemm,
            "GlobalAveragePool": self.on_globalaveragepool,
            "Identity": self.on_passing,
            "MatMul": self.on_matmul,
            "MaxPool": self.on_maxpool,
            "Mul": self.on_factor,
            "Pad": self.on_pad,
            "ReduceMean": self.on_reducemean,
            "Relu": self.on_relu,
            "Reshape": self.on_reshape,
            "Squeeze": self.on_reshape,
            "Sub": self.on_sub,
            "Transpose": self.on_transpose,
            "Unsqueeze": self.on_reshape,
        }
        handlers[node.op_type](node, attributes)

    def finish(self, output: str) -> None:
        graph = self.graph
        view = self.views.get(output)
        if view is None or view.name not in self.producer:
            raise ModelError(f"{self.where}: output '{output}' is not computed by any layer")
        if view.pads != NONE:
            last = onnx.NodeProto(name=output, op_type="Pad")
            try:
                view = self.plain(last, view)
            except Refusal as refusal:
                raise ModelError(f"{self.where}: {refusal}") from refusal
        graph.host = self.layout_steps(view, output) + graph.host
        self.drop_unread(view.name)
        if view.name != output and output not in graph.shapes and not graph.host:
            self.name_output(view.name, output)
        else:
            graph.output = view.name
        used = {graph.input, *(layer.output for layer in graph.layers)}
        graph.shapes = {name: shape for name, shape in graph.shapes.items() if name in used}
        if not any(layer.weighted for layer in graph.layers):
            raise ModelError(f"{self.where}: it has no Conv, Gemm, MatMul or average pool layer")
        self.state_ranges()

    def layout_steps(self, view: View, output: str) -> list[Step]:
        """Return the steps from how the graph stores its output to how the source does."""
        shape = self.graph.shapes[view.name]
        if view.flat_perm is not None:
            before = self.graph.shapes[self.producer[view.name].input]
            return [
                {"op": "Reshape", "name": f"{output}/map", "shape": [0, *before]},
                {"op": "Transpose", "name": f"{output}/order", "perm": list(view.flat_perm)},
                {"op": "Reshape", "name": f"{output}/flat", "shape": [0, *shape]},
            ]
        if view.perm != MAP[: len(view.perm)]:
            return [{"op": "Transpose", "name": f"{output}/order", "perm": list(view.perm)}]
        return []

    def drop_unread(self, output: str) -> None:
        """Drop layers whose results nothing reads: reshapes that were undone."""
        for layer in reversed(self.graph.layers.copy()):
            read = {output}
            for other in self.graph.layers:
                read.update((*other.inputs, *([other.residual] if other.residual else [])))
            if layer.output not in read:
                self.drop(layer)

    def name_output(self, last: str, output: str) -> None:
        graph = self.graph
        graph.output = output
        graph.shapes[output] = graph.shapes[last]
        for layer in graph.layers:
            layer.input = output if layer.input == last else layer.input
            layer.others = tuple(output if o == last else o for o in layer.others)
            layer.output = output if layer.output == last else layer.output
            layer.residual = output if layer.residual == last else layer.residual
        self.views = {
            name: replace(view, name=output) if view.name == last else view
            for name, view in self.views.items()
        }

    def state_ranges(self) -> None:
        """Keep the ranges that the source states, under the names of the graph."""
        graph, stated = self.graph, self.prepared.stated.ranges
        for name, value in stated.items():
            view = self.views.get(name)
            target = name if name in graph.shapes or view is None else view.name
            if target in graph.shapes and (target not in graph.ranges or target == name):
                graph.ranges[target] = value
        for layer in graph.layers:
            # What passes values on, or only clips them, needs no more than what it reads.
            copies = layer.name.endswith(("/relu", "/pad")) or not layer.weighted
            if copies and layer.output not in graph.ranges and layer.input in graph.ranges:
                graph.ranges[layer.output] = graph.ranges[layer.input]


def _preprocess(model: onnx.ModelProto) -> dict[str, Any]:
    """Return what the source says of its input: its `unzip.preprocess` metadata, if any."""
    for prop in model.metadata_props:
        if prop.key == "unzip.preprocess":
            try:
                value = json.loads(prop.value)
            except json.JSONDecodeError:
                break
            if isinstance(value, dict):
                return value
    return {}


def import_model(model: onnx.ModelProto, where: str) -> FloatGraph:
    """Read an ONNX model; see `read_float`.

    Parameters
    ----------
    model : onnx.ModelProto
        Is changed.
    where : str
        For messages: the file's name.
    """
    if any(prop.key == "unzip.format" for prop in model.metadata_props):
        raise ModelError(
            f"{where}: it is a converted model already; expected its source, the model that "
            "`unzipfpga convert` was given"
        )
    try:
        preprocess = _preprocess(model)
        return _Importer(prepare(model, where), where).run(preprocess)
    except UnicodeDecodeError as error:  # wherever a damaged name is first looked at
        raise ModelError(f"{where}: damaged: it holds names that are not UTF-8 text") from error


def read_float(path: Path) -> FloatGraph:
    """Read an ONNX model, floating point or quantised.

    Parameters
    ----------
    path : pathlib.Path
        One input [N, C, H, W], [N, H, W, C] or [N, features] (float32), one output, N free or
        fixed; opset 7 to the newest that the installed onnx knows.

    Returns
    -------
    FloatGraph
        Real numbers; a quantised model's ranges are in `ranges`, steps for the host in `host`.

    Raises
    ------
    ModelError
        If the file is missing or truncated, or holds an operator, attribute or shape outside the
        supported set; the text names every such node, its operator and attribute, and what is
        supported.
    """
    return import_model(load_onnx(path), str(path))
