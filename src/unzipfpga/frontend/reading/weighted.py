# SPDX-License-Identifier: Apache-2.0
"""Convolutions and fully connected layers."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from unzipfpga.frontend.graph import FloatLayer
from unzipfpga.frontend.reading.builder import FEATURES, GraphBuilder, View, add_pads, listed


class Weighted(GraphBuilder):
    """Reads Conv, Gemm and MatMul."""

    def on_conv(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        view = self.image(node)
        if view.pads[0] or view.pads[3] or view.fill:
            view = self.plain(node, view)
        image = self.shape_of(node, node.input[0])[1:]
        weights = self.required(node, 1, "weight")
        groups = attributes.get("group", 1)
        if groups < 1 or weights.shape[1] * groups != image[0] or len(weights) % groups:
            shown = f"weight [{listed(weights.shape)}] on input [N, {listed(image)}]"
            shown += f" with group = {groups}" if groups != 1 else ""
            self.refuse(node, shown, f"a weight for {image[0]} channels")
        kernel = weights.shape[2:]
        if tuple(attributes.get("kernel_shape", kernel)) != kernel:
            shown = f"kernel_shape = {listed(attributes['kernel_shape'])}"
            self.refuse(node, shown, f"its weight's {listed(kernel)}")
        stride, pads = self.window(node, attributes, kernel, image)
        pads = add_pads(pads, view.window_pads)
        bias = np.zeros(len(weights))
        if self.constant(node, 2, "bias") is not None:
            bias = self.required(node, 2, "bias")
            if bias.shape != weights.shape[:1]:
                shown = f"bias [{listed(bias.shape)}] for {len(weights)} filters"
                self.refuse(node, shown, f"a bias [{len(weights)}]")
        layer = FloatLayer(node.name, "conv", view.name, node.output[0], weights, bias)
        layer.kernel, layer.stride, layer.pads = (kernel[0], kernel[1]), stride, pads
        layer.groups = groups
        layer.weight_scale = self.stated_scale(node.input[1], len(weights), 0)
        self.take_factors_in_front(layer)
        self.add_layer(node, layer, self.shape_of(node, node.output[0])[1:])
        self.result(node, View(node.output[0]))

    def take_factors_in_front(self, layer: FloatLayer) -> None:
        """Fold a layer of one weight per channel into the one that reads it.

        Where windows reach over the edge only a factor can: they read 0, not the constant.
        """
        affine = self.take_affine(layer.input)
        if affine is None or layer.weights is None or layer.bias is None:
            return
        assert affine.weights is not None and affine.bias is not None
        if affine.bias.any() and any(layer.pads):
            return
        gemm = affine.kind == "gemm"
        factors = np.diag(affine.weights) if gemm else affine.weights[:, 0, 0, 0]
        of_group, channels = len(layer.weights) // layer.groups, layer.weights.shape[1]
        first = np.arange(len(layer.weights)) // of_group * channels
        seen = first[:, np.newaxis] + np.arange(channels)  # [C_out, C_in/groups]
        extra = (1,) * (layer.weights.ndim - 2)
        sums = layer.weights.reshape(*seen.shape, -1).sum(axis=2)
        layer.bias = layer.bias + (sums * affine.bias[seen]).sum(axis=1)
        layer.weights = layer.weights * factors[seen].reshape(*seen.shape, *extra)
        layer.weight_scale = None
        layer.input = affine.input
        self.drop(affine)

    def stated_scale(self, name: str, filters: int, axis: int) -> NDArray[np.float64] | None:
        """Return the scale of each filter's integers, if the source states it."""
        stated = self.prepared.stated
        scale = stated.weight_scales.get(name)
        if scale is None or (scale.size > 1 and (stated.axes[name], scale.size) != (axis, filters)):
            return None
        return np.broadcast_to(scale, filters).copy()

    def fully_connected(
        self,
        node: onnx.NodeProto,
        weights: NDArray[np.float64],
        bias: NDArray[np.float64],
        scale: NDArray[np.float64] | None,
    ) -> None:
        view = self.view(node)
        shape = self.shape_of(node, node.input[0])[1:]
        if shape != weights.shape[1:]:
            self.refuse(
                node,
                f"its input has shape [N, {listed(shape)}]",
                f"[N, {weights.shape[1]}] (flatten first)",
            )
        order = self.order(view)
        if order is not None:
            # Column i belongs to feature order[i] as the graph has it.
            weights = weights[:, np.argsort(order)]
        layer = FloatLayer(node.name, "gemm", view.name, node.output[0], weights, bias)
        layer.weight_scale = scale
        pool = self.take_global_pool(view.name)
        if pool is not None:
            layer.input, layer.pooled_pixels = pool.input, pool.pooled_pixels
        else:
            self.take_factors_in_front(layer)
        self.add_layer(node, layer, (len(weights),))
        self.result(node, View(node.output[0], FEATURES))

    def take_global_pool(self, name: str) -> FloatLayer | None:
        """Take away the global average pool and the flatten that make a tensor, if they do.

        The fully connected layer behind them sums all pixels itself, without a rounding between.
        """
        flatten = self.producer.get(name)
        if flatten is None or flatten.kind != "flatten" or self.uses[name] != 1:
            return None
        pool = self.open_layer(flatten.input)
        if pool is None or pool.kind != "gap" or pool.residual is not None:
            return None
        self.drop(pool)
        self.drop(flatten)
        return pool

    def on_gemm(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if attributes.get("transA", 0):
            self.refuse(node, "transA = 1", "transA = 0")
        alpha = attributes.get("alpha", 1.0)
        weights = self.required(node, 1, "weight") * alpha
        turned = bool(attributes.get("transB", 0))
        weights = weights if turned else weights.T
        scale = self.stated_scale(node.input[1], len(weights), 0 if turned else 1)
        bias = np.zeros(len(weights))
        if self.constant(node, 2, "bias") is not None:
            bias = self.per_channel(node, self.required(node, 2, "bias"), None)
        beta = attributes.get("beta", 1.0)
        self.fully_connected(node, weights, bias * beta, None if scale is None else scale * alpha)

    def on_matmul(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        weights = self.required(node, 1, "second operand")
        if weights.ndim != 2:
            self.refuse(node, f"its second operand has {weights.ndim} dimensions", "2 dimensions")
        scale = self.stated_scale(node.input[1], weights.shape[1], 1)
        view = self.view(node)
        if len(view.perm) == 4 and view.perm[3] == 1:
            self.pointwise(node, self.plain(node, view), weights, scale)
            return
        self.fully_connected(node, weights.T, np.zeros(weights.shape[1]), scale)

    def pointwise(
        self,
        node: onnx.NodeProto,
        view: View,
        weights: NDArray[np.float64],
        scale: NDArray[np.float64] | None,
    ) -> None:
        """Add a matrix product over the channels of a map [N, H, W, C]: a 1x1 convolution."""
        _, height, width = self.graph.shapes[view.name]
        filters = weights.T[:, :, np.newaxis, np.newaxis]
        bias = np.zeros(len(filters))
        layer = FloatLayer(node.name, "conv", view.name, node.output[0], filters, bias)
        layer.weight_scale = scale
        self.take_factors_in_front(layer)
        self.add_layer(node, layer, (len(filters), height, width))
        self.result(node, replace(view, name=node.output[0]))
