# SPDX-License-Identifier: Apache-2.0
"""What only moves values: order of axes, shapes, concatenation, padding."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from unzipfpga.frontend.graph import FloatLayer
from unzipfpga.frontend.reading.builder import NONE, GraphBuilder, View, listed


class Order(GraphBuilder):
    """Reads Transpose, Flatten, Reshape, Squeeze, Unsqueeze, Concat, Pad, Identity and Dropout."""

    def on_passing(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        self.alias(node, self.view(node))

    def on_transpose(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        view = self.view(node)
        perm = attributes.get("perm", range(len(view.perm))[::-1])
        if perm[0] != 0:
            self.refuse(node, f"perm = {listed(perm)}", "the batch stays the first axis")
        self.alias(node, replace(view, perm=tuple(view.perm[axis] for axis in perm)))

    def on_reshape(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        """Read Flatten, Reshape, Squeeze and Unsqueeze: all by the shape that they give."""
        view, shape = self.view(node), self.shape_of(node, node.input[0])
        result = self.source.get(node.output[0])
        if result == shape:
            self.alias(node, view)
            return
        if result == (1, math.prod(shape)):
            view = self.plain(node, view)
            self.flatten(node, view, (math.prod(shape),))
            return
        moved = None if result is None else self.moved(view, shape, result)
        if moved is None:
            known = result is not None and result[0] == 1
            shown = (
                f"[N, {listed(result[1:])}]" if known and result else "a shape that mixes images"
            )
            self.refuse(
                node,
                f"it turns [N, {listed(shape[1:])}] into {shown if result else 'an unknown shape'}",
                f"flattening to [N, {math.prod(shape)}], or moving axes of size 1",
            )
        self.alias(node, moved)

    def moved(self, view: View, shape: tuple[int, ...], result: tuple[int, ...]) -> View | None:
        """Return the view of a reshape that only moves, adds or drops axes of size 1, if it is."""
        flatten = self.producer.get(view.name)
        if len(shape) == 2 and flatten is not None and flatten.kind == "flatten":
            # One pixel that was flattened becomes a map again.
            before = self.graph.shapes[flatten.input]
            if before[1:] != (1, 1) or len(result) != 4 or view.flat_perm is not None:
                return None
            self.uses[flatten.input] += 1
            view, shape = View(flatten.input), (1, *before)
        if len(shape) != 4 or len(result) != 4 or result[0] != 1 or view.pads != NONE:
            return None
        long = [axis for axis in range(1, 4) if shape[axis] > 1]
        places = [axis for axis in range(1, 4) if result[axis] > 1]
        if [shape[axis] for axis in long] != [result[axis] for axis in places]:
            return None
        short = [axis for axis in range(1, 4) if shape[axis] == 1]
        # One channel or one pixel may be any of several axes: the graph's own order is best.
        rest = iter(sorted(short, key=lambda axis: view.perm[axis]))
        sources = dict(zip(places, long, strict=True))
        order = [0, *(sources[axis] if axis in sources else next(rest) for axis in range(1, 4))]
        return replace(view, perm=tuple(view.perm[axis] for axis in order))

    def on_concat(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        views = [self.plain(node, self.view(node, index)) for index in range(len(node.input))]
        if len(views) == 1:
            self.alias(node, views[0])
            return
        perm = views[0].perm
        axis = attributes["axis"] % len(perm)
        if perm[axis] != 1:
            channels = perm.index(1)
            self.refuse(node, f"axis = {axis}", f"axis = {channels}: over channels")
        if any(view.perm != perm or view.flat_perm is not None for view in views):
            self.refuse(
                node,
                "its operands differ in the order of their axes",
                "one order of axes; flattened maps in the order C, H, W",
            )
        layer = FloatLayer(node.name, "concat", views[0].name, node.output[0])
        layer.others = tuple(view.name for view in views[1:])
        shapes = [self.graph.shapes[view.name] for view in views]
        if any(shape[1:] != shapes[0][1:] for shape in shapes):
            self.refuse(node, "its operands differ in height or width", "maps of one size")
        self.add_layer(node, layer, (sum(shape[0] for shape in shapes), *shapes[0][1:]))
        self.result(node, replace(views[0], name=node.output[0]))

    def on_pad(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        """Note what is added; what reads the result takes it into its own padding."""
        view = self.view(node)
        rank = len(view.perm)
        mode = attributes.get("mode", b"constant").decode()
        if mode != "constant":
            self.refuse(node, f"mode = {mode}", "mode = constant")
        given, axes = self.constant(node, 1, "pads"), self.constant(node, 3, "axes")
        sizes = [] if given is None else given.ravel().tolist()
        places = list(range(rank)) if axes is None else [a % rank for a in axes.ravel().tolist()]
        if rank != 4 or len(sizes) != 2 * len(places) or min(sizes, default=0) < 0:
            self.refuse(node, f"pads = {listed(sizes)}", "pads >= 0 of maps")
        added = [0] * 8
        for index, axis in enumerate(places):
            added[view.perm[axis]] = sizes[index]
            added[4 + view.perm[axis]] = sizes[index + len(places)]
        if added[0] or added[4]:
            self.refuse(node, f"pads = {listed(sizes)}", "no pads of the batch")
        value = self.constant(node, 2, "value")
        fill = 0.0 if value is None else float(value.ravel()[0])
        fill = -math.inf if fill <= float(np.finfo(np.float32).min) else fill
        if fill not in (0.0, -math.inf):
            self.refuse(node, f"its value is {fill}", "zeros, or -inf in front of MaxPool")
        if not any(added):
            self.alias(node, view)
            return
        if view.pads != NONE and view.fill != fill:
            view = self.plain(node, view)
        pads = [old + new for old, new in zip(view.pads, (*added[1:4], *added[5:8]), strict=True)]
        six = (pads[0], pads[1], pads[2], pads[3], pads[4], pads[5])
        self.alias(node, replace(view, pads=six, fill=fill))
