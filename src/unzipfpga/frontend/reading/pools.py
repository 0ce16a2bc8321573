# SPDX-License-Identifier: Apache-2.0
"""Max pools and average pools."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from unzipfpga.frontend.graph import FloatLayer, Kind
from unzipfpga.frontend.reading.builder import NONE, GraphBuilder, View, add_pads, listed


class Pools(GraphBuilder):
    """Reads MaxPool, AveragePool, GlobalAveragePool and ReduceMean."""

    def on_maxpool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        view = self.image(node)
        image = self.shape_of(node, node.input[0])[1:]
        if attributes.get("storage_order", 0) != 0:
            self.refuse(node, "storage_order = 1", "storage_order = 0")
        if len([output for output in node.output if output]) > 1:
            self.refuse(node, "its second output (Indices) is used", "one output")
        kernel = tuple(attributes["kernel_shape"])
        stride, own = self.window(node, attributes, kernel, image)
        # Padding is ignored; zeros are not, but among values that are not negative they never win.
        ignorable = view.fill == -math.inf or (view.fill == 0 and self.not_negative(view.name))
        pads = add_pads(own, view.window_pads)
        reaches = any(max(pads[i], pads[i + 2]) >= kernel[i] for i in (0, 1))
        if view.pads != NONE and (view.pads[0] or view.pads[3] or not ignorable or reaches):
            view = self.plain(node, view)
            pads = own
        out = self.shape_of(node, node.output[0])[1:]
        pads = self.whole_windows(view, kernel, stride, pads, out)
        for i in (0, 1):
            if attributes.get("ceil_mode", 0) and pads[i + 2] >= kernel[i]:
                self.refuse(
                    node,
                    "ceil_mode = 1 with a last window of nothing but padding",
                    "windows that all reach the map",
                )
            if max(pads[i], pads[i + 2]) >= kernel[i]:
                self.refuse(
                    node, f"pads = {listed(pads)}", f"pads below the kernel {listed(kernel)}"
                )
        layer = FloatLayer(node.name, "maxpool", view.name, node.output[0])
        layer.kernel, layer.stride, layer.pads = (kernel[0], kernel[1]), stride, pads
        self.add_layer(node, layer, out)
        self.result(node, View(node.output[0]))

    def whole_windows(
        self,
        view: View,
        kernel: Sequence[int],
        stride: Sequence[int],
        pads: tuple[int, int, int, int],
        out: tuple[int, ...],
    ) -> tuple[int, int, int, int]:
        """Return pads that reach to the end of the last window: what ceil_mode = 1 adds."""
        size = self.graph.shapes[view.name][1:]
        end = [
            max((out[1 + i] - 1) * stride[i] + kernel[i] - size[i] - pads[i], pads[2 + i])
            for i in (0, 1)
        ]
        return pads[0], pads[1], end[0], end[1]

    def on_averagepool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        view = self.image(node)
        if view.pads[0] or view.pads[3] or view.fill:
            view = self.plain(node, view)
        image = self.shape_of(node, node.input[0])[1:]  # zeros of a Pad in front count as pixels
        kernel = tuple(attributes["kernel_shape"])
        stride, own = self.window(node, attributes, kernel, image)
        out = self.shape_of(node, node.output[0])[1:]
        counted = bool(attributes.get("count_include_pad", 0))
        counts = [
            _counts(image[1 + i], kernel[i], stride[i], own[i], own[i + 2], out[1 + i], counted)
            for i in (0, 1)
        ]
        pixels = np.multiply.outer(*counts)
        if pixels.min() != pixels.max():
            padded = "padding" if any(own) else "ceil_mode = 1"
            self.refuse(
                node,
                f"pads = {listed(own)}, count_include_pad = {int(counted)}, ceil_mode = "
                f"{attributes.get('ceil_mode', 0)}: its windows average {pixels.min()} to "
                f"{pixels.max()} pixels because of {padded}; the engine divides all by the same",
                "no padding, or count_include_pad = 1; whole windows",
            )
        pads = self.whole_windows(view, kernel, stride, add_pads(own, view.window_pads), out)
        divisor = int(pixels.min())
        size = self.graph.shapes[view.name]
        if kernel == size[1:] and not any(pads):
            self.average(node, "gap", view, kernel, out)
        elif divisor == math.prod(kernel) and all(pads[i] < kernel[i % 2] for i in range(4)):
            layer = self.average(node, "avgpool", view, kernel, out)
            layer.kernel, layer.stride, layer.pads = (kernel[0], kernel[1]), stride, pads
        else:
            weights = np.full((size[0], 1, *kernel), 1 / divisor)
            bias = np.zeros(size[0])
            layer = FloatLayer(node.name, "conv", view.name, node.output[0], weights, bias)
            layer.kernel, layer.stride, layer.pads = (kernel[0], kernel[1]), stride, pads
            layer.groups = size[0]
            self.add_layer(node, layer, out)
        self.result(node, View(node.output[0]))

    def on_globalaveragepool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        view = self.plain(node, self.image(node))
        channels, *size = self.graph.shapes[view.name]
        self.average(node, "gap", view, size, (channels, 1, 1))
        self.result(node, View(node.output[0]))

    def on_reducemean(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        view, shape = self.view(node), self.shape_of(node, node.input[0])
        given = self.constant(node, 1, "axes")
        axes = [] if given is None else given.ravel().tolist()
        if len(shape) != 4 or sorted(view.perm[axis] for axis in axes) != [2, 3]:
            shown = "2, 3" if len(shape) != 4 else listed(view.perm.index(i) for i in (2, 3))
            self.refuse(
                node, f"axes = {listed(axes) or '(none)'}", f"axes = {shown}: over all pixels"
            )
        view = self.plain(node, view)
        channels, *size = self.graph.shapes[view.name]
        if attributes.get("keepdims", 1):
            self.average(node, "gap", view, size, (channels, 1, 1))
            self.result(node, replace(view, name=node.output[0]))
            return
        mean = self.fresh(f"{node.output[0]}/map")
        self.uses[mean] = 1
        self.average(node, "gap", view, size, (channels, 1, 1), mean)
        self.flatten(node, View(mean), (channels,))

    def average(
        self,
        node: onnx.NodeProto,
        kind: Kind,
        view: View,
        window: Sequence[int],
        out: tuple[int, ...],
        output: str | None = None,
    ) -> FloatLayer:
        """Add an average pool over windows of (height, width)."""
        channels, (height, width) = self.graph.shapes[view.name][0], window
        size = (channels, 1) if kind == "gap" else (channels, 1, height, width)
        weights = np.full(size, 1 / (height * width))
        name = output or node.output[0]
        layer = FloatLayer(node.name, kind, view.name, name, weights, np.zeros(channels))
        layer.groups = channels
        layer.pooled_pixels = height * width if kind == "gap" else 0
        return self.add_layer(node, layer, out)


def _counts(
    size: int, kernel: int, stride: int, before: int, behind: int, windows: int, counted: bool
) -> NDArray[np.int64]:
    """Return how many positions each window of an average pool divides by, along one axis."""
    starts = np.arange(windows) * stride - before
    # Beyond the padding there is nothing to count, even if padding counts.
    if counted:
        return np.minimum(starts + kernel, size + behind) - starts
    return np.minimum(starts + kernel, size) - np.maximum(starts, 0)
