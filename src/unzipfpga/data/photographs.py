# SPDX-License-Identifier: Apache-2.0
"""Photographs to run networks on, from scikit-image's wheel: CC0 or in the public domain.

There are few, so what networks are run on are square crops of them. Originals that serve for
calibration give no crop that a network is tested on.
"""

import io
import zipfile
from dataclasses import dataclass

import numpy as np
from PIL import Image

from unzipfpga.data.wheel import fetch_wheel
from unzipfpga.errors import DataError

WHEEL = "scikit-image==0.26.0"
WHEEL_SHA256 = "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af"
WHEEL_TARGET = ("3.11", "manylinux_2_28_x86_64")  # the photographs are the same in all of them

# Edge of the smallest crop, as a share of the photograph's shorter edge.
SMALLEST_CROP = 0.5


@dataclass(frozen=True)
class Photograph:
    """A file of the wheel; `licence` is what scikit-image's documentation of it says.

    Attributes
    ----------
    file : str
        Its name in the wheel's `skimage/data`.
    licence : str
    use : {"test", "calibration"}
    """

    file: str
    licence: str
    use: str


PHOTOGRAPHS = {
    "astronaut": Photograph("astronaut.png", "public domain (NASA)", "test"),
    "chelsea": Photograph("chelsea.png", "CC0 by the photographer, Stefan van der Walt", "test"),
    "coffee": Photograph("coffee.png", "CC0 by the photographer, Rachel Michetti", "test"),
    "rocket": Photograph("rocket.jpg", "public domain (SpaceX)", "test"),
    "camera": Photograph("camera.png", "CC0 by the photographer, Lav Varshney", "test"),
    "clock": Photograph(
        "clock_motion.png", "public domain, by the photographer, Stefan van der Walt", "test"
    ),
    "brick": Photograph("brick.png", "CC0 (CC0Textures)", "calibration"),
    "grass": Photograph("grass.png", "CC0 (DeviantArt, linolafett)", "calibration"),
    "gravel": Photograph("gravel.png", "CC0 (CC0Textures)", "calibration"),
    "hubble": Photograph("hubble_deep_field.jpg", "public domain (NASA)", "calibration"),
    "retina": Photograph("retina.jpg", "CC0 (Mikael Häggström)", "calibration"),
}


def load_photographs(use: str) -> dict[str, Image.Image]:
    """Return photographs by name, fetched once and then read from the user's cache directory.

    Parameters
    ----------
    use : {"test", "calibration"}

    Returns
    -------
    dict of str to PIL.Image.Image
        RGB.

    Raises
    ------
    DataError
        If the wheel cannot be downloaded or is not the pinned one.
    """
    chosen = {name: photo for name, photo in PHOTOGRAPHS.items() if photo.use == use}
    if not chosen:
        raise DataError(f"there are photographs for 'test' and 'calibration', not for '{use}'")
    with zipfile.ZipFile(fetch_wheel(WHEEL, WHEEL_SHA256, WHEEL_TARGET)) as wheel:
        return {
            name: Image.open(io.BytesIO(wheel.read(f"skimage/data/{photo.file}"))).convert("RGB")
            for name, photo in chosen.items()
        }


def photograph_crops(use: str, count: int) -> dict[str, Image.Image]:
    """Return square crops of photographs: the same ones every time, the first of each whole.

    Parameters
    ----------
    use : {"test", "calibration"}
    count : int
        How many; they are taken from all photographs in turn.

    Returns
    -------
    dict of str to PIL.Image.Image
        RGB, by name of the photograph and number of the crop.

    Raises
    ------
    DataError
        As `load_photographs`.
    """
    photographs = load_photographs(use)
    random = np.random.default_rng(1)
    crops: dict[str, Image.Image] = {}
    while len(crops) < count:
        turn = len(crops) // len(photographs)
        for name, photo in photographs.items():
            shorter = min(photo.size)
            edge = round(shorter * random.uniform(SMALLEST_CROP, 1)) if turn else shorter
            share = random.uniform(size=2) if turn else np.full(2, 0.5)
            left, top = (
                round((size - edge) * s) for size, s in zip(photo.size, share, strict=True)
            )
            crops[f"{name}-{turn}"] = photo.crop((left, top, left + edge, top + edge))
    return dict(list(crops.items())[:count])
