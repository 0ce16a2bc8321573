# SPDX-License-Identifier: Apache-2.0
"""Mean and covariance of what layers multiply their weights with, from sample images."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from unzipfpga.frontend.graph import FloatGraph, FloatLayer
from unzipfpga.frontend.runtime import batch_size, run_tensors

SAMPLES = 16384  # output pixels of a layer that are looked at, at most
# A layer whose filters have more weights is fitted without: the covariance would take 300 MB.
MAX_WEIGHTS = 6144
# Share of the mean variance that is added to every input's, divided by the number of images: pixels
# of one image are alike, so a few images make a few directions look as if nothing else happened.
FEW_IMAGES = 2.5


@dataclass(frozen=True)
class Moments:
    """Statistics of a layer's inputs, in the order of a filter's weights.

    Attributes
    ----------
    mean : float64 array [groups, D]
    covariance : float64 array [groups, D, D]
        Of the samples.
    images : int
        That the samples are from.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    images: int

    def estimate(self) -> NDArray[np.float64]:
        """Return what the samples say of other images: float64 array [groups, D, D]."""
        size = self.covariance.shape[1]
        variance = np.trace(self.covariance, axis1=1, axis2=2) / size
        share = FEW_IMAGES / self.images
        result: NDArray[np.float64] = self.covariance + share * variance[
            :, np.newaxis, np.newaxis
        ] * np.eye(size)
        return result


def _inputs(
    layer: FloatLayer, values: NDArray[np.float32], count: int, random: np.random.Generator
) -> NDArray[np.float32]:
    """Return the inputs of `count` output pixels of each image: [samples, C_in, Ky*Kx]."""
    if layer.kind == "gemm":
        if layer.pooled_pixels:
            values = values.mean(axis=(2, 3))
        return values[..., np.newaxis]
    top, left, bottom, right = layer.pads
    padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel, axis=(2, 3))
    windows = windows[:, :, :: layer.stride[0], :: layer.stride[1]]
    height, width = windows.shape[2:4]
    pixels = random.permutation(height * width)[:count]
    chosen = windows[:, :, pixels // width, pixels % width]  # [N, C_in, count, Ky, Kx]
    samples = chosen.transpose(0, 2, 1, 3, 4)
    return samples.reshape(-1, values.shape[1], layer.kernel[0] * layer.kernel[1])


def input_moments(
    graph: FloatGraph,
    model: onnx.ModelProto,
    images: NDArray[np.float32],
    names: Collection[str],
    advance: Callable[[int], None] = lambda _count: None,
) -> dict[str, Moments]:
    """Return the statistics of the inputs of the named layers.

    Parameters
    ----------
    graph : FloatGraph
    model : onnx.ModelProto
        The same network as ONNX, tensors under the graph's names.
    images : float32 array [N, C, H, W]
        Sample inputs, preprocessed.
    names : collection of str
        Convolutions and fully connected layers; those with more than `MAX_WEIGHTS` weights a filter
        are left out of the result.
    advance : callable
        Called with the number of images of each batch that is done.

    Returns
    -------
    dict of str to Moments
    """
    layers = {}
    for layer in graph.layers:
        if layer.name in names and layer.weights is not None:
            size = layer.weights[0].size
            if size <= MAX_WEIGHTS:
                layers[layer.name] = layer, size
    if not layers:
        return {}
    count = -(-SAMPLES // len(images))  # output pixels of each image
    sums = {name: np.zeros((layer.groups, size)) for name, (layer, size) in layers.items()}
    products = {
        name: np.zeros((layer.groups, size, size), np.float32)
        for name, (layer, size) in layers.items()
    }
    seen = dict.fromkeys(layers, 0)
    random = np.random.default_rng(0)
    sources = [layer.input for layer, _ in layers.values()]
    for values in run_tensors(model, sources, images, batch_size(graph.shapes), advance):
        for name, (layer, size) in layers.items():
            samples = _inputs(layer, values[layer.input], count, random)
            seen[name] += len(samples)
            grouped = samples.reshape(len(samples), layer.groups, size)
            for group in range(layer.groups):
                part = np.ascontiguousarray(grouped[:, group])
                sums[name][group] += part.sum(axis=0, dtype=np.float64)
                products[name][group] += part.T @ part
    result = {}
    for name in layers:
        mean = sums[name] / seen[name]
        covariance = products.pop(name).astype(np.float64) / seen[name]
        covariance -= mean[:, :, np.newaxis] * mean[:, np.newaxis]
        result[name] = Moments(mean, covariance, len(images))
    return result
