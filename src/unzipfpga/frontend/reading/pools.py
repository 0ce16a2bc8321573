# SPDX-License-Identifier: Apache-2.0
"""Max pools and average pools."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from unzipfpga.frontend.graph import FloatLayer, Kind, window_pixels
from unzipfpga.frontend.reading.builder import NONE, GraphBuilder, Six, View, add_pads, listed


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
        # Padding that counts is like pixels of 0; beyond it, where ceil_mode = 1 may lead, nothing
        # counts.
        padded, rest = (image, own) if not counted else (_grown(image, own), (0, 0, 0, 0))
        pixels = window_pixels(padded, out, kernel, stride, rest)
        distinct = tuple(int(count) for count in np.unique(pixels))
        empty = window_pixels(image, out, kernel, stride, own).min() < 1
        if empty and (len(distinct) > 1 or not counted):
            self.refuse(
                node,
                f"pads = {listed(own)}, ceil_mode = {attributes.get('ceil_mode', 0)}: a window of "
                "nothing but padding",
                "windows that all reach the map",
            )
        if len(distinct) > 1:
            if counted:
                view = replace(view, pads=_around(add_pads(own, view.window_pads)))
            # Zeros that count, where others do not, are pixels: a layer makes them.
            view, own = self.plain(node, view), rest
        pads = self.whole_windows(view, kernel, stride, add_pads(own, view.window_pads), out)
        divisor = distinct[0]
        size = self.graph.shapes[view.name]
        if len(distinct) > 1:
            layer = self.average(node, "avgpool", view, kernel, out)
            layer.kernel, layer.stride, layer.pads = (kernel[0], kernel[1]), stride, pads
            layer.counts = distinct
        elif kernel == size[1:] and not any(pads):
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


def _around(pads: tuple[int, int, int, int]) -> Six:
    """Return window pads as those of channels, rows and columns."""
    return (0, pads[0], pads[1], 0, pads[2], pads[3])


def _grown(shape: tuple[int, ...], pads: tuple[int, int, int, int]) -> tuple[int, ...]:
    """Return the shape of a padded map."""
    return shape[0], shape[1] + pads[0] + pads[2], shape[2] + pads[1] + pads[3]
