# SPDX-License-Identifier: Apache-2.0
"""Constants per channel, residual additions and activations: folded, or layers of their own."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from unzipfpga.frontend.graph import FloatLayer
from unzipfpga.frontend.reading.builder import NONE, GraphBuilder, View, listed


class Elementwise(GraphBuilder):
    """Reads BatchNormalization, Add, Sub, Mul, Div, Relu and Clip."""

    def affine(
        self,
        node: onnx.NodeProto,
        view: View,
        factor: NDArray[np.float64] | float,
        addend: NDArray[np.float64] | float,
    ) -> None:
        """Multiply and add per channel: in the layer before, or in one of its own."""
        view = self.plain(node, view)
        layer = self.open_weights(view.name)
        scaled = np.any(np.asarray(factor) != 1.0)
        if layer is None or (scaled and layer.residual is not None):
            layer = self.per_channel_layer(node, view, "affine", factor, addend)
        else:
            assert layer.weights is not None and layer.bias is not None
            factors = np.broadcast_to(factor, layer.bias.shape)
            layer.weights = layer.weights * factors.reshape(-1, *[1] * (layer.weights.ndim - 1))
            layer.bias = layer.bias * factors + addend
            if layer.weight_scale is not None:
                layer.weight_scale = layer.weight_scale * np.abs(factors)
                if not factors.all():
                    layer.weight_scale = None
        self.rename(layer, node.output[0])
        self.result(node, replace(view, name=node.output[0]))

    def on_batchnormalization(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if attributes.get("training_mode", 0):
            self.refuse(node, "training_mode = 1", "training_mode = 0")
        view = self.view(node)
        if view.perm[1] != 1:
            self.refuse(node, "its input is transposed", "channels on axis 1")
        names = ("scale", "bias", "mean", "variance")
        gamma, beta, mean, variance = (self.required(node, i + 1, n) for i, n in enumerate(names))
        channels = self.shape_of(node, node.output[0])[1:2]
        if not gamma.shape == beta.shape == mean.shape == variance.shape == channels:
            self.refuse(node, "its parameters differ in length", f"{channels[0]} values each")
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = gamma / np.sqrt(variance + attributes.get("epsilon", 1e-5))
        if not np.isfinite(factor).all():
            self.refuse(node, "variance + epsilon is not positive", "positive variances")
        order = self.order(view)
        addend = beta - mean * factor
        if order is not None:
            factor, addend = factor[np.argsort(order)], addend[np.argsort(order)]
        self.affine(node, view, factor, addend)

    def constant_operand(self, node: onnx.NodeProto) -> int | None:
        """Return which operand of two is constant."""
        return next((i for i in (0, 1) if node.input[i] in self.constants), None)

    def on_factor(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        """Read Mul and Div by constants."""
        index = self.constant_operand(node)
        if index is None or (node.op_type == "Div" and index == 0):
            self.refuse(node, "it multiplies or divides tensors", "constant factors per channel")
        value = self.required(node, index, "factor")
        view = self.view(node, 1 - index)
        self.check_broadcast(node, 1 - index)
        factor = self.per_channel(node, value, view)
        if node.op_type == "Div":
            if not factor.all():
                self.refuse(node, "it divides by 0", "constants other than 0")
            factor = 1 / factor
        self.affine(node, view, factor, 0.0)

    def on_sub(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        index = self.constant_operand(node)
        if index is None:
            self.refuse(node, "it subtracts tensors", "constants per channel, or Add")
        view = self.view(node, 1 - index)
        self.check_broadcast(node, 1 - index)
        value = self.per_channel(node, self.required(node, index, "constant"), view)
        if index:
            self.affine(node, view, 1.0, -value)
        else:
            self.affine(node, view, -1.0, value)

    def check_broadcast(self, node: onnx.NodeProto, index: int) -> None:
        """Refuse a constant that makes more of a tensor than it is."""
        shape, result = (self.shape_of(node, n) for n in (node.input[index], node.output[0]))
        if shape != result:
            self.refuse(
                node,
                f"a constant makes [N, {listed(result[1:])}] of [N, {listed(shape[1:])}]",
                "one constant per channel",
            )

    def on_add(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        index = self.constant_operand(node)
        if index is not None:
            view = self.view(node, 1 - index)
            self.check_broadcast(node, 1 - index)
            value = self.required(node, index, "constant")
            self.affine(node, view, 1.0, self.per_channel(node, value, view))
            return
        shapes = [self.shape_of(node, name) for name in node.input]
        views = [self.view(node, i) for i in (0, 1)]
        if shapes[0] != shapes[1]:
            shown = " and ".join(f"[N, {listed(shape[1:])}]" for shape in shapes)
            self.refuse(node, f"its operands have shapes {shown}", "operands of equal shape")
        if views[0].perm != views[1].perm or views[0].flat_perm != views[1].flat_perm:
            self.refuse(node, "its operands differ in the order of their axes", "one order of both")
        if views[0] == views[1]:
            self.uses[views[0].name] -= 1
            self.affine(node, views[0], 2.0, 0.0)
            return
        # Zeros in front of rows or columns no residual has: a layer makes them.
        views = [self.plain(node, v) if any(v.pads[:3]) or v.fill else v for v in views]
        candidates = [
            layer
            for view in views
            if view.pads == NONE
            and (layer := self.open_layer(view.name)) is not None
            and layer.residual is None
        ]
        candidates = candidates or self.widened(views)
        if not candidates:
            at = next((index for index, view in enumerate(views) if view.pads == NONE), 0)
            views[at] = self.plain(node, views[at])
            candidates = [self.per_channel_layer(node, views[at], "add", 1.0)]
            views[at] = replace(views[at], name=candidates[0].output)
        # The layer that comes last: then its residual operand exists when it runs.
        layer = max(candidates, key=self.graph.layers.index)
        self.plain_affine.discard(layer.output)
        residual = views[1] if views[0].name == layer.output else views[0]
        layer.residual = residual.name
        self.graph.layers.remove(layer)
        self.graph.layers.append(layer)
        self.rename(layer, node.output[0])
        self.result(node, View(node.output[0], views[0].perm, views[0].flat_perm))

    def widened(self, views: list[View]) -> list[FloatLayer]:
        """Let a layer make the zero channels behind it, where both operands of an Add are padded.

        Returns the layer, whose result is then one of `views`, or nothing if there is none.
        """
        for index, view in enumerate(views):
            layer = self.open_layer(view.name)
            if layer is None or layer.residual is not None or layer.kind == "gap":
                continue
            if layer.counts:  # no convolution: its factor differs from pixel to pixel
                continue
            missing = view.pads[3]
            if view.pads != (0, 0, 0, missing, 0, 0) or (layer.kind == "conv" and layer.groups > 1):
                continue
            assert layer.weights is not None and layer.bias is not None
            if layer.kind == "avgpool":  # a convolution: its filters may be more than its channels
                weights = np.zeros((layer.groups, layer.groups, *layer.kernel))
                weights[np.arange(layer.groups), np.arange(layer.groups)] = layer.weights[:, 0]
                layer.kind, layer.weights, layer.groups = "conv", weights, 1
            layer.weights = np.concatenate(
                [layer.weights, np.zeros_like(layer.weights[:1]).repeat(missing, 0)]
            )
            layer.bias = np.concatenate([layer.bias, np.zeros(missing)])
            if layer.weight_scale is not None:
                layer.weight_scale = np.concatenate(
                    [layer.weight_scale, layer.weight_scale[:1].repeat(missing)]
                )
            channels, *size = self.graph.shapes[view.name]
            self.graph.shapes[view.name] = (channels + missing, *size)
            views[index] = replace(view, pads=NONE)
            return [layer]
        return []

    def activate(self, node: onnx.NodeProto, clip: float | None) -> None:
        view = self.view(node)
        name = view.name
        layer = self.producer.get(name)
        if self.not_negative(name) and view.fill == 0:
            if self.highest(name) <= (clip or math.inf):
                self.alias(node, view)  # it changes nothing
                return
            if layer is not None and layer.relu and self.uses[name] == 1:
                layer.clip = clip
                self.rename(layer, node.output[0])
                self.result(node, replace(view, name=node.output[0]))
                return
        if view.fill:
            view = self.plain(node, view)
        # A maximum commutes with a monotonic activation: move it before the pools.
        target, passed = layer, name
        while (
            target is not None and target.kind in ("maxpool", "flatten") and self.uses[passed] == 1
        ):
            passed = target.input
            target = self.producer.get(passed)
        if layer is None or target is None or self.open_layer(passed) is not target:
            layer = target = self.per_channel_layer(node, view, "relu", 1.0)
        self.plain_affine.discard(target.output)
        self.plain_affine.discard(layer.output)
        target.relu, target.clip = True, clip
        stated = self.prepared.stated.ranges
        if layer.output in stated:
            stated.setdefault(node.output[0], min(stated[layer.output], clip or math.inf))
        self.rename(layer, node.output[0])
        self.result(node, replace(view, name=node.output[0]))

    def on_relu(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self.activate(node, None)

    def on_clip(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        low, high = self.constant(node, 1, "min"), self.constant(node, 2, "max")
        least = -math.inf if low is None else float(low.ravel()[0])
        most = math.inf if high is None else float(high.ravel()[0])
        # Exporters write "no bound" as the largest float.
        most = math.inf if most >= float(np.finfo(np.float32).max) else most
        if least != 0 or not most > 0:
            self.refuse(node, f"min = {least}, max = {most}", "min = 0 and max > 0 (ReLU, ReLU6)")
        self.activate(node, None if math.isinf(most) else most)
