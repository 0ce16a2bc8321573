# SPDX-License-Identifier: Apache-2.0
"""The graph while it is built from a model's nodes, and what is known of the source's tensors."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from unzipfpga.frontend.graph import FloatGraph, FloatLayer
from unzipfpga.frontend.prepare import Prepared
from unzipfpga.frontend.supported import ATTRIBUTES, not_supported

MAP, FEATURES = (0, 1, 2, 3), (0, 1)  # orders of axes as the graph stores them
NONE = (0, 0, 0, 0, 0, 0)
Four = tuple[int, int, int, int]
Six = tuple[int, int, int, int, int, int]


class Refusal(Exception):
    """A node that cannot be expressed; the text is one line."""


@dataclass(frozen=True)
class View:
    """How a tensor of the source is made of one of the graph.

    Attributes
    ----------
    name : str
        Tensor of the graph, [N, C, H, W] or [N, features].
    perm : tuple of int
        Axis i of the source's tensor is axis ``perm[i]`` of the graph's.
    flat_perm : tuple of int or None
        Of features: the map was flattened in this order of its axes, where the graph flattens in
        (0, 1, 2, 3).
    pads : six ints
        What is added in front of channels, rows and columns, and behind them.
    fill : float
        Value of what is added.
    """

    name: str
    perm: tuple[int, ...] = MAP
    flat_perm: tuple[int, ...] | None = None
    pads: Six = NONE
    fill: float = 0.0

    @property
    def window_pads(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right)."""
        return self.pads[1], self.pads[2], self.pads[4], self.pads[5]


class GraphBuilder:
    """State of one import; the classes of this package add how operators are read."""

    def __init__(self, prepared: Prepared, where: str) -> None:
        self.where = where
        self.prepared = prepared
        self.source = prepared.shapes  # shapes of the source's tensors, batch 1 included
        self.constants = {
            i.name: numpy_helper.to_array(i) for i in prepared.model.graph.initializer
        }
        self.views: dict[str, View] = {}
        self.uses: Counter[str] = Counter()  # of tensors of the source, then of the graph
        self.producer: dict[str, FloatLayer] = {}
        self.plain_affine: set[str] = set()  # results of layers of one weight per channel
        self.unknown: set[str] = set()  # results of refused nodes whose shape is not known
        self.problems: list[str] = []
        self.graph = FloatGraph(prepared.input, "", {})

    # --- errors -----------------------------------------------------------------------------

    def refuse(self, node: onnx.NodeProto, problem: str, supported: str) -> NoReturn:
        raise Refusal(f"node '{node.name}' ({node.op_type}): {problem}; supported: {supported}")

    def go_on_behind(self, node: onnx.NodeProto) -> None:
        """Let a refused node's results be given, so that what follows is examined too."""
        first = next((self.views[n] for n in node.input if n in self.views), None)
        for name in filter(None, node.output):
            shape = self.source.get(name)
            if shape is None or len(shape) not in (2, 4) or shape[0] != 1:
                self.unknown.add(name)
                continue
            perm = first.perm if first and len(first.perm) == len(shape) else MAP[: len(shape)]
            self.graph.shapes[name] = tuple(shape[i] for i in np.argsort(perm))[1:]
            self.views[name] = View(name, perm)

    # --- looking things up ------------------------------------------------------------------

    def attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        if node.domain not in ("", "ai.onnx") or node.op_type not in ATTRIBUTES:
            problem = not_supported(node.op_type, node.domain)
            raise Refusal(f"node '{node.name}' ({node.op_type}): {problem}")
        allowed = ATTRIBUTES[node.op_type]
        for attribute in node.attribute:
            if attribute.name not in allowed:
                self.refuse(
                    node,
                    f"attribute {attribute.name} is not known",
                    "the attributes " + (", ".join(sorted(allowed)) or "(none)"),
                )
        values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if min(values.get("pads", [0])) < 0:
            self.refuse(node, f"pads = {listed(values['pads'])}", "pads >= 0")
        return values

    def constant(self, node: onnx.NodeProto, index: int, what: str) -> NDArray[Any] | None:
        """Return a constant input, None if it is left out; refuse one that is computed."""
        if index >= len(node.input) or not node.input[index]:
            return None
        name = node.input[index]
        if name not in self.constants:
            self.refuse(
                node, f"its {what} '{name}' is not a constant", f"a constant {what} (initializer)"
            )
        return self.constants[name]

    def required(self, node: onnx.NodeProto, index: int, what: str) -> NDArray[np.float64]:
        value = self.constant(node, index, what)
        if value is None:
            self.refuse(node, f"it has no {what}", f"a constant {what}")
        with np.errstate(invalid="ignore"):  # some kinds of NaN warn; they are refused below
            value = value.astype(np.float64)
        bad = int(np.count_nonzero(~np.isfinite(value)))
        if bad:
            self.refuse(
                node,
                f"its {what} holds values that are not finite: {bad} of {value.size} in "
                f"'{node.input[index]}' are NaN or infinite",
                "finite numbers (did training diverge?)",
            )
        return value

    def view(self, node: onnx.NodeProto, index: int = 0) -> View:
        """Return a computed input."""
        name = node.input[index]
        if name in self.constants:
            self.refuse(node, f"its input '{name}' is a constant", "a computed tensor there")
        return self.views[name]

    def shape_of(self, node: onnx.NodeProto, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor of the source, at batch 1."""
        shape = self.source.get(name)
        if shape is None:
            self.refuse(node, f"the shape of tensor '{name}' is unknown", "fixed shapes but batch")
        return shape

    def image(self, node: onnx.NodeProto, index: int = 0) -> View:
        """Return an input that is a map in the order [N, C, H, W]."""
        view, shape = self.view(node, index), self.shape_of(node, node.input[index])
        if len(shape) != 4:
            self.refuse(
                node,
                f"its input has shape [N, {listed(shape[1:])}]",
                "images [N, C, H, W] (2-D layers)",
            )
        if view.perm != MAP:
            self.refuse(
                node,
                f"its input is transposed, [N, {', '.join('NCHW'[i] for i in view.perm[1:])}]",
                "maps [N, C, H, W] there",
            )
        return view

    def plain(self, node: onnx.NodeProto, view: View) -> View:
        """Return a view without padding: a layer of its own pads if nothing else can."""
        if view.pads == NONE:
            return view
        if view.pads[0] or view.pads[3] or view.fill:
            self.refuse(
                node,
                f"its input is padded with {view.fill}, and by {view.pads[0]} + {view.pads[3]} "
                "channels",
                "zeros around rows and columns; channels only behind an Add's operand; -inf only "
                "in front of MaxPool",
            )
        layer = self.per_channel_layer(node, replace(view, pads=NONE), "pad", 1.0)
        layer.pads = view.window_pads
        channels, height, width = self.graph.shapes[view.name]
        top, left, bottom, right = layer.pads
        size = (channels, height + top + bottom, width + left + right)
        self.graph.shapes[layer.output] = size
        self.plain_affine.discard(layer.output)
        return replace(view, name=layer.output, pads=NONE)

    def open_layer(self, name: str) -> FloatLayer | None:
        """Return the layer that makes a tensor, if it sums and something can be fused into it."""
        layer = self.producer.get(name)
        if layer is None or not layer.weighted or self.uses[name] != 1 or layer.relu:
            return None
        return layer

    def open_weights(self, name: str) -> FloatLayer | None:
        """Return the conv or gemm that makes a tensor, if a factor and a bias fold into it."""
        layer = self.open_layer(name)
        return layer if layer is not None and layer.multiplies else None

    def not_negative(self, name: str) -> bool:
        """Return whether no value of a tensor can be below 0."""
        layer = self.producer.get(name)
        if layer is None:
            return False
        if layer.kind in ("conv", "gemm"):
            return layer.relu
        if layer.residual is not None:
            return layer.relu
        return layer.relu or all(self.not_negative(source) for source in layer.inputs)

    def order(self, view: View) -> NDArray[np.int64] | None:
        """Return the graph's feature for each one of the source, None if they are the same."""
        if view.flat_perm is None:
            return None
        shape = (1, *self.graph.shapes[self.producer[view.name].input])
        return np.arange(math.prod(shape)).reshape(shape).transpose(view.flat_perm).ravel()

    def per_channel(
        self, node: onnx.NodeProto, value: NDArray[np.float64], view: View | None
    ) -> NDArray[np.float64]:
        """Return a constant operand as one value per channel of the node's result.

        `view` tells how the result is stored; None: as features in order.
        """
        shape = self.shape_of(node, node.output[0])
        try:
            full = np.broadcast_to(value, shape)
        except ValueError:
            full = np.broadcast_to(np.nan, shape)
        perm = FEATURES if view is None else view.perm
        full = full.transpose(np.argsort(perm))
        channels: NDArray[np.float64] = full[0].reshape(full.shape[1], -1)
        if not (channels == channels[:, :1]).all():
            self.refuse(
                node,
                f"a constant of shape [{listed(value.shape)}] meets [N, {listed(shape[1:])}]",
                "one constant per channel",
            )
        order = None if view is None else self.order(view)
        values = np.array(channels[:, 0])
        return values if order is None else values[np.argsort(order)]

    def window(
        self,
        node: onnx.NodeProto,
        attributes: dict[str, Any],
        kernel: tuple[int, ...],
        image: tuple[int, ...],
    ) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
        """Return (stride, pads) of a Conv or pool with automatic padding worked out."""
        if len(kernel) != 2:
            self.refuse(node, f"kernel [{listed(kernel)}]", "kernels of two dimensions")
        stride = tuple(attributes.get("strides", (1, 1)))
        pads = tuple(attributes.get("pads", (0, 0, 0, 0)))
        if any(d != 1 for d in attributes.get("dilations", (1, 1))):
            self.refuse(node, f"dilations = {listed(attributes['dilations'])}", "dilations = 1, 1")
        auto = attributes.get("auto_pad", b"NOTSET").decode()
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            total = [
                max((math.ceil(size / step) - 1) * step + k - size, 0)
                for size, step, k in zip(image[1:], stride, kernel, strict=True)
            ]
            less = [t // 2 for t in total]
            more = [t - b for t, b in zip(total, less, strict=True)]
            pads = (*less, *more) if auto == "SAME_UPPER" else (*more, *less)
        elif auto not in ("NOTSET", "VALID"):
            self.refuse(node, f"auto_pad = {auto}", "NOTSET, VALID, SAME_UPPER, SAME_LOWER")
        return (stride[0], stride[1]), (pads[0], pads[1], pads[2], pads[3])

    def highest(self, name: str) -> float:
        """Return what no value of a tensor can be above, as far as activations say."""
        layer = self.producer.get(name)
        if layer is None:
            return math.inf
        if layer.relu and layer.clip is not None:
            return layer.clip
        if layer.kind in ("conv", "gemm") or layer.residual is not None:
            return math.inf
        return max(self.highest(source) for source in layer.inputs)

    # --- building the graph -----------------------------------------------------------------

    def rename(self, layer: FloatLayer, name: str) -> None:
        """Let a layer make another tensor: what was between the two is fused into the layer."""
        self.producer.pop(layer.output, None)
        if layer.output in self.plain_affine:
            self.plain_affine.add(name)
        self.graph.shapes[name] = self.graph.shapes[layer.output]
        self.uses[name] = max(self.uses[name], 1)
        layer.output = name
        self.producer[name] = layer

    def add_layer(
        self, node: onnx.NodeProto, layer: FloatLayer, shape: tuple[int, ...]
    ) -> FloatLayer:
        names = {other.name for other in self.graph.layers}
        base, count = layer.name, 1
        while layer.name in names:
            count += 1
            layer.name = f"{base}_{count}"
        if min(shape) < 1:
            self.refuse(node, f"its output shape is [N, {listed(shape)}]", "sizes >= 1")
        self.graph.layers.append(layer)
        self.graph.shapes[layer.output] = shape
        self.producer[layer.output] = layer
        return layer

    def result(self, node: onnx.NodeProto, view: View) -> None:
        """Note that a node's output is a tensor of the graph, made by a layer of its own."""
        self.views[node.output[0]] = view

    def alias(self, node: onnx.NodeProto, view: View) -> None:
        """Note that a node's output is a tensor that is there already."""
        self.views[node.output[0]] = view
        self.uses[view.name] += self.uses[node.output[0]] - 1

    def fresh(self, name: str) -> str:
        base, count = name, 1
        while name in self.graph.shapes or name in self.source:
            count += 1
            name = f"{base}_{count}"
        return name

    def per_channel_layer(
        self,
        node: onnx.NodeProto,
        view: View,
        what: str,
        factor: NDArray[np.float64] | float,
        addend: NDArray[np.float64] | float = 0.0,
    ) -> FloatLayer:
        """Add a layer of one weight per channel behind a tensor; what read that reads its result.

        Features have no depthwise layer: their weights are a diagonal matrix.
        """
        shape = self.graph.shapes[view.name]
        factors, bias = np.broadcast_to(factor, shape[:1]), np.broadcast_to(addend, shape[:1])
        output = self.fresh(f"{view.name}/{what}")
        name = f"{node.name}/{what}"
        if len(shape) == 1:
            layer = FloatLayer(name, "gemm", view.name, output, np.diag(factors), np.array(bias))
        else:
            weights = np.array(factors).reshape(-1, 1, 1, 1)
            layer = FloatLayer(name, "conv", view.name, output, weights, np.array(bias))
            layer.groups = shape[0]
        self.uses[output] = 1
        self.plain_affine.add(output)
        return self.add_layer(node, layer, shape)

    def take_affine(self, name: str) -> FloatLayer | None:
        """Return the layer of one weight per channel that makes a tensor, if only that is read."""
        layer = self.open_weights(name)
        return layer if layer and name in self.plain_affine and layer.residual is None else None

    def drop(self, layer: FloatLayer) -> None:
        self.graph.layers.remove(layer)
        del self.producer[layer.output]

    def flatten(self, node: onnx.NodeProto, view: View, shape: tuple[int, ...]) -> None:
        channels, height, width = self.graph.shapes[view.name]
        axes = [axis for axis in view.perm if (1, channels, height, width)[axis] > 1]
        layer = FloatLayer(node.name, "flatten", view.name, node.output[0])
        self.add_layer(node, layer, shape)
        flat_perm = None if axes == sorted(axes) else view.perm
        self.result(node, View(node.output[0], FEATURES, flat_perm))


def listed(values: Any) -> str:
    return ", ".join(str(value) for value in values)


def add_pads(
    pads: tuple[int, int, int, int], more: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    return pads[0] + more[0], pads[1] + more[1], pads[2] + more[2], pads[3] + more[3]
