# SPDX-License-Identifier: Apache-2.0
"""From image files and arrays to network input, by one rule that is stored with the model.

An image becomes input as `x = (pixel / divide_by - mean) / std`, after resizing and cropping; the
model's `unzip.preprocess` metadata hold these values, and whoever feeds the model reads them there.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unzipfpga.data import load_mnist
from unzipfpga.data.mnist import MEAN, STD
from unzipfpga.errors import DataError
from unzipfpga.frontend.layout import as_stored, user_shape

Floats = NDArray[np.float32]
Shape = tuple[int, ...]

# Files with other suffixes in a folder of images are passed over.
SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
MNIST_PREPROCESS = {"layout": "NCHW", "divide_by": 255, "mean": [MEAN], "std": [STD]}


class Preprocess(BaseModel):
    """How an image becomes the input of a model.

    Attributes
    ----------
    layout : {"NCHW", "NHWC"}
        Of arrays that hold the model's input.
    divide_by, mean, std : float, or lists of one float a channel
        `x = (pixel / divide_by - mean) / std`, pixels 0 to 255; `mean` and `std` in the order of
        the model's channels, one number for all or one each. If none of the three is given, it is
        not known how pixels become input.
    channels : {"RGB", "BGR", "grey"} or None
        Order of the model's channels. If given, images of other kinds are converted. None: RGB for
        three channels, grey for one, and only images of that kind are taken.
    resize : int, (height, width) or None
        Images are first resized (bilinear): int: the shorter side becomes that long; (height,
        width): whatever their proportions. Then the middle is cut out. None: images must have the
        model's size.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: Literal["NCHW", "NHWC"] = "NCHW"
    divide_by: float | None = Field(None, gt=0)
    mean: float | list[float] | None = None
    std: float | list[float] | None = None
    channels: Literal["RGB", "BGR", "grey"] | None = None
    resize: int | tuple[int, int] | None = None

    @property
    def known(self) -> bool:
        """Whether it is known how pixels become input."""
        return not (self.divide_by is None and self.mean is None and self.std is None)

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "unzip.preprocess") -> "Preprocess":
        """Check values as the metadata hold them; keys that are not known are an error.

        Raises
        ------
        DataError
            Names the key, what it is, and what is valid.
        """
        try:
            result = cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise DataError(
                f"{where}: {key}: {first['msg']}; valid: layout (NCHW, NHWC), divide_by, mean, "
                "std, channels (RGB, BGR, grey), resize (number or [height, width])"
            ) from error
        numbers = [result.divide_by, *_listed(result.mean), *_listed(result.std)]
        if not np.isfinite([n for n in numbers if n is not None]).all() or 0 in _listed(result.std):
            raise DataError(f"{where}: mean and std are finite numbers, std not 0")
        sizes = [result.resize] if isinstance(result.resize, int) else (result.resize or ())
        if any(size < 1 for size in sizes):
            raise DataError(f"{where}: resize is at least 1 pixel, not {result.resize}")
        return result

    def check_channels(self, channels: int) -> None:
        """Refuse means and deviations of another number of channels.

        Raises
        ------
        DataError
            Names the key and both numbers.
        """
        for key, values in (("mean", _listed(self.mean)), ("std", _listed(self.std))):
            if len(values) not in (0, 1, channels):
                raise DataError(
                    f"unzip.preprocess: {key} holds {len(values)} numbers for {channels} "
                    f"channel{'s' * (channels > 1)}"
                )


def _listed(value: float | Sequence[float] | None) -> list[float]:
    if value is None:
        return []
    return [value] if isinstance(value, int | float) else list(value)


def read_preprocess(text: str) -> dict[str, Any]:
    """Return preprocessing as a user gives it: the name of a YAML file, or YAML itself.

    Raises
    ------
    DataError
        If it is neither, or holds a key or value that is not valid.
    """
    path, where = Path(text), "--preprocess"
    try:
        if "{" not in text and ":" not in text:
            where, text = f"--preprocess {path}", path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", error)
        raise DataError(f"--preprocess {path}: cannot be read: {reason}") from error
    except yaml.YAMLError as error:
        raise DataError(f"{where}: not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise DataError(
            f"{where}: expected a YAML file, or YAML such as "
            "'{divide_by: 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}'"
        )
    Preprocess.parse(values, where)
    return values


# --- pixels ---------------------------------------------------------------------------------------


def pixels_to_input(
    pixels: NDArray[np.uint8], preprocess: Mapping[str, Any], shape: Shape, what: str = "images"
) -> Floats:
    """Turn images of the model's channels into its input: resize, crop, scale.

    Parameters
    ----------
    pixels : uint8 array [N, H, W, C]
        Channels in the order red, green, blue, or grey alone.
    preprocess : mapping
        As the `unzip.preprocess` metadata hold it.
    shape : (C, H, W)
        Of the model's input.
    what : str
        For messages.

    Returns
    -------
    float32 array [N, C, H, W]

    Raises
    ------
    DataError
        If the number of channels or the size is not the model's, or it is not known how pixels
        become input.
    """
    rule = Preprocess.parse(preprocess)
    if not rule.known:
        raise DataError(
            f"{what}: the model does not say how pixels become its input; convert it with "
            "--preprocess, such as '{divide_by: 255}', or give arrays of preprocessed images"
        )
    channels = pixels.shape[3]
    if len(shape) != 3 or channels != shape[0]:
        raise DataError(
            f"{what}: {channels} channel{'s' * (channels > 1)}, the model's input takes "
            f"[{', '.join(map(str, shape))}] (channels first)"
        )
    if rule.resize is not None:
        pixels = np.stack([_resized(image, rule.resize) for image in pixels])
        height, width = pixels.shape[1:3]
        if height < shape[1] or width < shape[2]:
            raise DataError(
                f"{what}: resized to {height}x{width} (height x width), smaller than the model's "
                f"{shape[1]}x{shape[2]}; set a larger resize"
            )
        top, left = round((height - shape[1]) / 2), round((width - shape[2]) / 2)
        pixels = pixels[:, top : top + shape[1], left : left + shape[2]]
    elif pixels.shape[1:3] != shape[1:]:
        raise DataError(
            f"{what}: {pixels.shape[1]}x{pixels.shape[2]} pixels (height x width), the model takes "
            f"{shape[1]}x{shape[2]}; set resize in --preprocess, such as "
            f"'{{resize: {max(shape[1:])}}}', to have images resized and cut"
        )
    rule.check_channels(channels)
    if rule.channels == "BGR":
        pixels = pixels[..., ::-1]
    scaled: NDArray[Any] = pixels.astype(np.float32) / np.float32(rule.divide_by or 1.0)
    if rule.mean is not None:
        scaled = scaled - np.asarray(_listed(rule.mean), np.float32)
    if rule.std is not None:
        scaled = scaled / np.asarray(_listed(rule.std), np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def _resized(image: NDArray[np.uint8], resize: int | tuple[int, int]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if isinstance(resize, int):
        shorter = min(height, width)
        wanted = (resize * height // shorter, resize * width // shorter)
    else:
        wanted = resize
    if wanted == (height, width):
        return image
    flat = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    result = np.asarray(flat.resize(wanted[::-1], Image.Resampling.BILINEAR))
    return result.reshape(*wanted, -1)


def load_image(path: Path, channels: int, kind: str | None) -> NDArray[np.uint8]:
    """Read one image file.

    Parameters
    ----------
    path : pathlib.Path
    channels : int
        Of the model: 3 or 1.
    kind : {"RGB", "BGR", "grey"} or None
        `Preprocess.channels`: None refuses grey images for three channels, and colour for one.

    Returns
    -------
    uint8 array [H, W, channels]

    Raises
    ------
    DataError
        If the file cannot be read or is of another kind.
    """
    if channels not in (1, 3) or (kind is not None and (kind == "grey") != (channels == 1)):
        raise DataError(
            f"{path}: image files have 3 channels or 1 (grey), the model takes {channels}"
            + (f" and says {kind}" if kind else "")
        )
    try:
        with Image.open(path) as image:
            grey = image.mode in ("1", "L", "LA")
            if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"):
                raise DataError(f"{path}: images of mode {image.mode} are not supported (8 bits)")
            if kind is None and grey != (channels == 1):
                raise DataError(
                    f"{path}: a {'grey' if grey else 'colour'} image (mode {image.mode}), the "
                    f"model takes {channels} channel{'s' * (channels > 1)}; to convert such "
                    f"images, set channels in --preprocess ({'RGB, BGR' if grey else 'grey'})"
                )
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image, or a damaged one ({error})") from error
    return pixels.reshape(*pixels.shape[:2], channels)


# --- arrays ---------------------------------------------------------------------------------------


def load_arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Read images, and labels if there are any, from an .npy or .npz file.

    An .npz file holds `images` (or one array only), and `labels`.

    Raises
    ------
    DataError
        If the file is missing, damaged, or does not say which array holds the images.
    """
    if not path.is_file():
        raise DataError(
            f"{path}: no such file or folder; expected a folder of images, an .npy or .npz file, "
            "or the word mnist"
        )
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None
        with loaded as arrays:
            names = list(arrays)
            if "images" not in names and len(names) != 1:
                raise DataError(
                    f"{path}: it holds {', '.join(names) or 'nothing'}; expected an array `images`"
                )
            images = arrays["images" if "images" in names else names[0]]
            labels = arrays["labels"] if "labels" in names else None
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not an .npz or .npy file, or a damaged one ({error})") from error
    return images, labels


def arrays_to_input(
    images: NDArray[Any], preprocess: Mapping[str, Any], shape: Shape, what: str
) -> Floats:
    """Turn an array into the model's input.

    Parameters
    ----------
    images : array
        uint8: pixels [N, H, W, C] or [N, C, H, W] with C = 1 or 3, or [N, H, W] of grey images,
        which are preprocessed. Any other type: preprocessed already, in the layout that
        `preprocess` says, or [N, features].
    preprocess : mapping
        As the `unzip.preprocess` metadata hold it.
    shape : tuple of int
        Of the model's input: (C, H, W) or (features,).
    what : str
        For messages.

    Returns
    -------
    float32 array [N, *shape]

    Raises
    ------
    DataError
        If there are no images, they have another shape, or they hold NaN or infinity.
    """
    if images.dtype == np.uint8 and len(shape) == 3 and images.ndim in (3, 4) and len(images):
        pixels = images[..., np.newaxis] if images.ndim == 3 else images
        if pixels.shape[3] not in (1, 3) and pixels.shape[1] in (1, 3):
            pixels = pixels.transpose(0, 2, 3, 1)
        return pixels_to_input(pixels, preprocess, shape, what)
    wanted = user_shape(shape, preprocess)
    if images.ndim < 1 or images.shape[1:] != wanted or len(images) == 0:
        raise DataError(
            f"{what}: images have shape {list(images.shape)}, the model's input "
            f"takes [N, {', '.join(map(str, wanted))}] with N >= 1"
        )
    if images.dtype.kind not in "fiu" or not np.isfinite(images).all():
        raise DataError(f"{what}: images are not finite numbers")
    return as_stored(images.astype(np.float32), preprocess)


# --- sets of images -------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageSet:
    """Images that are read and preprocessed as they are needed.

    Attributes
    ----------
    what : str
        Where they come from.
    count : int
        >= 1.
    load : callable
        Given the first index and the one behind the last, returns float32 [n, *input shape].
    labels : int64 array [count] or None
        Class of each image.
    classes : tuple of str or None
        Names of the classes, if known.
    preprocess : dict
        By which the images are preprocessed: what was given, completed where the set knows more.
    """

    what: str
    count: int
    load: Callable[[int, int], Floats]
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None
    preprocess: Mapping[str, Any] | None = None

    def batches(self, size: int) -> Iterator[Floats]:
        """Yield all images, `size` at a time."""
        for first in range(0, self.count, size):
            yield self.load(first, min(first + size, self.count))

    def all(self, advance: Callable[[int], None] = lambda _count: None) -> Floats:
        """Return all images: float32 [count, *input shape]."""
        parts = []
        for part in self.batches(50):
            parts.append(part)
            advance(len(part))
        return np.concatenate(parts)


def image_files(directory: Path) -> list[Path]:
    """Return the image files in a folder and all folders in it, in the order of their paths.

    Raises
    ------
    DataError
        If there are none.
    """
    files = sorted(
        path
        for path in directory.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not files:
        raise DataError(f"{directory}: it holds no images ({', '.join(sorted(SUFFIXES))})")
    return files


def class_folders(
    directory: Path, classes: Sequence[str] | None = None
) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """Return image files, their labels and the names of the classes: one folder a class.

    Parameters
    ----------
    directory : pathlib.Path
    classes : sequence of str, optional
        Names in the order of the model's outputs; folders may lack. Without it classes are the
        folders in the order of their names, or of their numbers if all names are numbers.

    Raises
    ------
    DataError
        If there are no folders, one holds no images, images lie outside of them, or a folder's
        name is no class.
    """
    folders = [p for p in directory.iterdir() if p.is_dir() and not p.name.startswith(".")]
    loose = [p for p in directory.iterdir() if p.is_file() and p.suffix.lower() in SUFFIXES]
    if loose or not folders:
        found = f"{loose[0].name} lies in no folder" if loose else "it holds no folders"
        raise DataError(
            f"{directory}: labels are missing: {found}; expected one folder of images for each "
            "class"
        )
    if all(folder.name.isdecimal() for folder in folders):
        folders.sort(key=lambda folder: (int(folder.name), folder.name))
    else:
        folders.sort(key=lambda folder: folder.name)
    names = tuple(folder.name for folder in folders) if classes is None else tuple(classes)
    strange = [folder.name for folder in folders if folder.name not in names]
    if strange:
        raise DataError(
            f"{directory}: folders that are no class of the list: {', '.join(strange)}; "
            f"classes: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"
        )
    files, labels = [], []
    for folder in folders:
        found_here = image_files(folder)
        files += found_here
        labels += [names.index(folder.name)] * len(found_here)
    return files, labels, names


def read_classes(path: Path) -> list[str]:
    """Read the names of classes, one a line, in the order of the model's outputs.

    Raises
    ------
    DataError
        If the file cannot be read, is empty, or names a class twice.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from error
    while names and not names[-1]:
        names.pop()
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise DataError(f"{path}: " + (f"it names {twice[0]!r} twice" if names else "it is empty"))
    return names


def _spread(count: int, limit: int | None) -> NDArray[np.int64]:
    """Return the indices of `limit` of `count` images, evenly spread: of all folders alike."""
    chosen = count if limit is None else min(limit, count)
    return np.arange(chosen) * count // max(1, chosen)


def find_images(
    data: str | Path,
    preprocess: Mapping[str, Any],
    shape: Shape,
    *,
    part: Literal["train", "test"] = "test",
    limit: int | None = None,
    labelled: bool = False,
    classes: Sequence[str] | None = None,
) -> ImageSet:
    """Return a set of images by the name that a user gives it.

    Parameters
    ----------
    data : str or pathlib.Path
        A folder of image files; an .npy or .npz file; or "mnist".
    preprocess : mapping
        As the model's `unzip.preprocess` metadata hold it.
    shape : tuple of int
        Of the model's input: (C, H, W) or (features,).
    part : {"train", "test"}
        Of MNIST.
    limit : int, optional
        How many at most: the first of arrays and of MNIST; of a folder's files some of every part.
    labelled : bool
        Labels are needed: a folder holds one folder for each class, an .npz file `labels`.
    classes : sequence of str, optional
        Names of the classes, see `class_folders`.

    Returns
    -------
    ImageSet

    Raises
    ------
    DataError
        Whatever is wrong with the data: what, where, and what would help. Files of a folder are
        read only when they are needed, so one that is damaged may be found later.
    """
    what = str(data)
    if what == "mnist":
        mnist = load_mnist()
        images = getattr(mnist, f"{part}_images")[:limit]
        labels = getattr(mnist, f"{part}_labels")[:limit].astype(np.int64)
        rule = dict(preprocess)
        if not Preprocess.parse(rule).known:
            rule = MNIST_PREPROCESS | rule
        try:
            # Refused at once if the model is for other images.
            pixels_to_input(images[:1, ..., np.newaxis], rule, shape, what)
        except DataError as error:
            raise DataError(
                f"mnist: images have shape [{len(images)}, 1, 28, 28], the model's input takes "
                f"[N, {', '.join(map(str, shape))}], preprocessed by {rule}: {error}"
            ) from error

        def load_digits(first: int, end: int) -> Floats:
            return pixels_to_input(images[first:end, ..., np.newaxis], rule, shape, what)

        return ImageSet(what, len(images), load_digits, labels, preprocess=rule)
    path = Path(data)
    if path.is_dir():
        names: tuple[str, ...] | None = None
        file_labels: NDArray[np.int64] | None = None
        if labelled:
            files, found, names = class_folders(path, classes)
            file_labels = np.array(found, np.int64)
        else:
            files = image_files(path)
        kept = _spread(len(files), limit)
        chosen = [files[index] for index in kept]
        rule = dict(preprocess)
        if len(shape) != 3:
            raise DataError(
                f"{path}: the model's input [N, {', '.join(map(str, shape))}] is no image; give "
                "an .npy or .npz file of preprocessed arrays"
            )
        kind = Preprocess.parse(rule).channels

        def load_files(first: int, end: int) -> Floats:
            inputs = []
            for file in chosen[first:end]:
                pixels = load_image(file, shape[0], kind)
                inputs.append(pixels_to_input(pixels[np.newaxis], rule, shape, str(file)))
            return np.concatenate(inputs)

        labels_kept = None if file_labels is None else file_labels[kept]
        return ImageSet(what, len(chosen), load_files, labels_kept, names, rule)
    arrays, array_labels = load_arrays(path)
    if labelled and (array_labels is None or array_labels.shape != arrays.shape[:1]):
        raise DataError(f"{data}: expected an array `labels` with one label per image")
    if array_labels is not None and array_labels.dtype.kind not in "iu":
        raise DataError(f"{data}: labels are integers, not {array_labels.dtype}")
    inputs = arrays_to_input(arrays[:limit], preprocess, shape, what)
    return ImageSet(
        what,
        len(inputs),
        lambda first, end: inputs[first:end],
        None if array_labels is None else array_labels[:limit].astype(np.int64),
        preprocess=dict(preprocess),
    )
