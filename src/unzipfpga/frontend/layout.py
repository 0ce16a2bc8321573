# SPDX-License-Identifier: Apache-2.0
"""Order of an image's axes: as the user's model takes it, and as the network stores it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def user_shape(shape: tuple[int, ...], preprocess: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape of one image as the source model takes it.

    Parameters
    ----------
    shape : (channels, height, width) or (features,)
        Of the network's input.
    preprocess : mapping
        Of a `FloatGraph` or `Network`; `layout` is "NCHW" or "NHWC".
    """
    if len(shape) == 3 and preprocess.get("layout") == "NHWC":
        return shape[1], shape[2], shape[0]
    return shape


def as_stored(images: NDArray[Any], preprocess: Mapping[str, Any]) -> NDArray[Any]:
    """Return images in the order of the network's axes.

    Parameters
    ----------
    images : array [N, H, W, C] where `layout` is "NHWC", else [N, C, H, W] or [N, features]
    preprocess : mapping
        Of a `FloatGraph` or `Network`.

    Returns
    -------
    array [N, C, H, W] or [N, features]
    """
    if images.ndim == 4 and preprocess.get("layout") == "NHWC":
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images
