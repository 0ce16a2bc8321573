# SPDX-License-Identifier: Apache-2.0
"""Small converted networks that have every kind of layer, for the golden model's tests."""

from pathlib import Path

import numpy as np

from tests.frontend import models
from unzipfpga.frontend import Layer, Network, Options, convert, read_converted, write_converted


def random_network(seed):
    """A chain of layers of random kinds, windows, strides, pads and groups."""
    b = models.Builder(["N", 4, 13, 11], seed)
    choose = np.random.default_rng(seed)
    channels, size = 4, np.array([13, 11])

    def window(most):
        kernel = choose.integers(1, np.minimum(most, size) + 1)
        pads = choose.integers(0, kernel, (2, 2))
        stride = choose.integers(1, 3, 2)
        return kernel, pads, stride, (size + pads.sum(axis=0) - kernel) // stride + 1

    for _ in range(7):
        source, kind = (
            b.tensor,
            choose.choice(["conv", "conv", "residual", "concat", "max", "mean"]),
        )
        if kind == "conv":
            kernel, pads, stride, size = window(4)
            groups = int(choose.choice([1, 1 if channels % 2 else 2, channels]))
            c_out = groups * int(choose.integers(1, 5)) if groups < channels else channels
            attributes = {"pads": pads.ravel().tolist(), "strides": stride.tolist()}
            b.conv(c_out, channels // groups, tuple(kernel), group=groups, **attributes)
            channels = c_out
            if choose.integers(2):
                b.batch_norm(channels)
            if choose.integers(2):
                b.node("Clip", b.tensor, b.constant(0.0), b.constant(2.0))
        elif kind == "residual":
            b.conv(channels, channels, pads=[1, 1, 1, 1])
            b.node("Add", b.tensor, source)
            b.node("Relu")
        elif kind == "concat":
            b.conv(6, channels, kernel=1)
            b.node("Concat", b.tensor, source, axis=1)
            channels += 6
        else:
            kernel, pads, stride, size = window(3)
            attributes = {"pads": pads.ravel().tolist(), "strides": stride.tolist()}
            attributes["kernel_shape"] = kernel.tolist()
            if kind == "max":
                b.node("MaxPool", **attributes)
            else:
                b.node("AveragePool", count_include_pad=1, **attributes)
        channels = int(channels)
    if choose.integers(2):
        b.node("GlobalAveragePool")
        size = np.array([1, 1])
    b.node("Flatten")
    b.gemm(10, channels * int(size.prod()))
    return b


NETWORKS = {
    "residual": models.residual_network,
    "separable": models.separable_network,
    "averaging": models.averaging_network,
    "squeeze": models.squeeze_network,
    "fire": models.fire_network,
    "shortcut": models.shortcut_network,
    "both-padded": models.both_padded_network,
    **{f"random-{seed}": lambda seed=seed: random_network(seed) for seed in range(6)},
}
# Dense, kernel-axis and channel-axis codes.
OPTIONS = {
    "dense": Options(),
    "kernel": Options(n=4, dense_first=False),
    "auto": Options(n=6, axis="auto"),
}
# What the networks above must hold, so that none of it goes unchecked.
FEATURES = {
    *("dense", "kernel", "channel", "conv", "gemm", "avgpool", "gap", "maxpool", "flatten"),
    *("concat", "residual", "residual of fewer channels", "residual of fewer pixels"),
    *("grouped", "depthwise", "pool in front of gemm", "clip", "no bias", "different windows"),
}


def images(shape, count, seed):
    """Random images [count, *shape]."""
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def converted(builder: models.Builder, options: Options, directory: Path) -> tuple[Path, Network]:
    """Convert a network on random images and write it; read what a user would read."""
    source = builder.save(directory / "source.onnx")
    network, _ = convert(source, lambda _graph: images(builder.shape[1:], 32, 0), options)
    path = directory / "converted.onnx"
    write_converted(network, path)
    return path, read_converted(path)


def features(network: Network, layer: Layer) -> set[str]:
    """Entries of FEATURES that a layer shows."""
    found = {layer.kind}
    if layer.kind in ("conv", "gemm"):
        found.add(layer.axis)
        found |= {"no bias"} if not layer.bias.any() else set()
    if layer.kind == "conv" and layer.groups > 1:
        found.add("depthwise" if layer.weights.shape[1] == 1 else "grouped")
    if layer.kind == "gemm" and layer.pooled_pixels:
        found.add("pool in front of gemm")
    if layer.counts:
        found.add("different windows")
    if layer.clip is not None:
        found.add("clip")
    if layer.residual:
        operand, result = (network.tensors[t].shape for t in (layer.residual, layer.output))
        found.add("residual")
        found |= {"residual of fewer channels"} if operand[0] < result[0] else set()
        found |= {"residual of fewer pixels"} if operand[1:] < result[1:] else set()
    return found
