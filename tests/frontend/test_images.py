# SPDX-License-Identifier: Apache-2.0
"""Images from files and arrays: preprocessing, labels, and everything that can be wrong."""

import numpy as np
import pytest
from PIL import Image

from unzipfpga.data import load_mnist, normalise
from unzipfpga.errors import DataError
from unzipfpga.frontend.images import (
    Preprocess,
    arrays_to_input,
    class_folders,
    find_images,
    image_files,
    load_image,
    pixels_to_input,
    read_classes,
    read_preprocess,
)

SHAPE = (3, 8, 6)
RULE = {"divide_by": 255, "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.5, 0.125]}


def pixels(count=2, height=8, width=6, channels=3, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, height, width, channels), np.uint8)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(path)
    return path


# --- pixels ---------------------------------------------------------------------------------------


def test_scaling_is_the_formula():
    images = pixels()
    found = pixels_to_input(images, RULE, SHAPE)
    assert found.shape == (2, *SHAPE) and found.dtype == np.float32
    for channel in range(3):
        wanted = (images[..., channel] / 255 - RULE["mean"][channel]) / RULE["std"][channel]
        assert np.allclose(found[:, channel], wanted, atol=1e-6)
    blue_first = pixels_to_input(images, {**RULE, "channels": "BGR"}, SHAPE)
    wanted = (images[..., 2] / 255 - RULE["mean"][0]) / RULE["std"][0]
    assert np.allclose(blue_first[:, 0], wanted, atol=1e-6)
    # One number for all channels, and what is left out does nothing.
    assert np.array_equal(
        pixels_to_input(images, {"mean": 10}, SHAPE),
        images.transpose(0, 3, 1, 2).astype(np.float32) - 10,
    )


def test_mnist_is_what_its_own_function_gives():
    images = load_mnist().test_images[:20]
    for rule in ({}, {"divide_by": 255, "mean": [0.1307], "std": [0.3081]}):
        found = find_images("mnist", rule, (1, 28, 28), limit=20)
        assert np.array_equal(found.all(), normalise(images))
        assert found.preprocess["std"] == [0.3081]  # to be stored, where the model says nothing
        assert found.labels.tolist() == load_mnist().test_labels[:20].tolist()


def test_resizing_and_cutting():
    images = pixels(1, 40, 20)
    # Shorter side to 10: 20x10, of which the middle 8x6 is kept.
    flat = Image.fromarray(images[0]).resize((10, 20), Image.Resampling.BILINEAR)
    middle = np.asarray(flat)[6:14, 2:8]
    found = pixels_to_input(images, {"divide_by": 1, "resize": 10}, SHAPE)
    assert np.array_equal(found[0].transpose(1, 2, 0), middle)
    stretched = np.asarray(Image.fromarray(images[0]).resize((6, 8), Image.Resampling.BILINEAR))
    found = pixels_to_input(images, {"divide_by": 1, "resize": [8, 6]}, SHAPE)
    assert np.array_equal(found[0].transpose(1, 2, 0), stretched)
    grey = pixels(1, 16, 12, 1)
    assert pixels_to_input(grey, {"divide_by": 1, "resize": 7}, (1, 8, 6)).shape == (1, 1, 8, 6)


@pytest.mark.parametrize(
    ("images", "rule", "shape", "words"),
    [
        (pixels(), {}, SHAPE, ["does not say how pixels become its input", "--preprocess"]),
        (pixels(), RULE, (4, 8, 6), ["3 channels", "[4, 8, 6]"]),
        (pixels(channels=1), RULE, SHAPE, ["1 channel,", "[3, 8, 6]"]),
        (pixels(), RULE, (3,), ["[3]"]),
        (pixels(height=9), RULE, SHAPE, ["9x6 pixels", "8x6", "resize: 8"]),
        (pixels(), {**RULE, "resize": 4}, SHAPE, ["5x4", "smaller", "8x6"]),
        (pixels(), {**RULE, "mean": [1, 2]}, SHAPE, ["mean holds 2 numbers for 3 channels"]),
    ],
)
def test_pixels_that_do_not_fit(images, rule, shape, words):
    with pytest.raises(DataError) as caught:
        pixels_to_input(images, rule, shape)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"layout": "CHW"}, "layout"),
        ({"divide_by": 0}, "divide_by"),
        ({"divide_by": "x"}, "divide_by"),
        ({"mean": [float("nan")]}, "finite"),
        ({"std": [0.0]}, "std not 0"),
        ({"channels": "GBR"}, "channels"),
        ({"resize": 0}, "at least 1 pixel"),
        ({"resize": [8, -1]}, "at least 1 pixel"),
        ({"scale": 255}, "scale"),
    ],
)
def test_bad_preprocessing(values, word):
    with pytest.raises(DataError, match=word):
        Preprocess.parse(values)


def test_preprocessing_from_a_file_and_from_text(tmp_path):
    path = tmp_path / "pre.yaml"
    path.write_text("divide_by: 255\nmean: [0.5]\n")
    assert read_preprocess(str(path)) == {"divide_by": 255, "mean": [0.5]}
    assert read_preprocess("{divide_by: 255, mean: [0.5]}") == {"divide_by": 255, "mean": [0.5]}
    for text, word in (
        (str(tmp_path / "no.yaml"), "cannot be read"),
        ("{divide_by: [", "not YAML"),
        ("{divide: 255}", "divide"),
    ):
        with pytest.raises(DataError, match=word):
            read_preprocess(text)
    path.write_text("text\n")
    with pytest.raises(DataError, match="expected a YAML file"):
        read_preprocess(str(path))


# --- files ----------------------------------------------------------------------------------------


def test_files_of_all_kinds(tmp_path):
    image = pixels(1)[0]
    for name in ("a.png", "b.bmp", "deep/c.PNG", "deep/er/d.tiff"):
        save(tmp_path / name, image)
    (tmp_path / "notes.txt").write_text("no image")
    save(tmp_path / ".hidden.png", image)
    names = [str(path.relative_to(tmp_path)) for path in image_files(tmp_path)]
    assert names == ["a.png", "b.bmp", "deep/c.PNG", "deep/er/d.tiff"]
    found = find_images(tmp_path, RULE, SHAPE)
    assert found.count == 4 and found.labels is None
    once = pixels_to_input(image[np.newaxis], RULE, SHAPE)
    assert np.array_equal(found.all(), np.repeat(once, 4, axis=0))
    assert find_images(tmp_path, RULE, SHAPE, limit=2).count == 2


def test_kinds_of_images(tmp_path):
    colour, grey = (
        save(tmp_path / "c.png", pixels()[0]),
        save(tmp_path / "g.png", pixels(channels=1)[0]),
    )
    assert load_image(colour, 3, None).shape == (8, 6, 3)
    assert load_image(grey, 1, None).shape == (8, 6, 1)
    alpha = tmp_path / "alpha.png"
    Image.open(colour).convert("RGBA").save(alpha)
    assert np.array_equal(load_image(alpha, 3, None), load_image(colour, 3, None))
    # Stated channels convert; without it, the user may not mean it.
    assert load_image(grey, 3, "RGB").shape == (8, 6, 3)
    assert load_image(colour, 1, "grey").shape == (8, 6, 1)
    deep = tmp_path / "deep.png"
    Image.fromarray(np.zeros((8, 6), np.uint16)).save(deep)
    broken = tmp_path / "broken.png"
    broken.write_bytes(colour.read_bytes()[:60])
    text = tmp_path / "text.png"
    text.write_text("no image")
    for path, channels, kind, word in (
        (grey, 3, None, "a grey image (mode L), the model takes 3 channels"),
        (colour, 1, None, "a colour image (mode RGB), the model takes 1 channel;"),
        (colour, 4, None, "the model takes 4"),
        (colour, 3, "grey", "says grey"),
        (deep, 1, None, "not supported (8 bits)"),
        (broken, 3, None, "damaged"),
        (text, 3, None, "not an image"),
        (tmp_path / "no.png", 3, None, "No such file"),
    ):
        with pytest.raises(DataError) as caught:
            load_image(path, channels, kind)
        assert word in str(caught.value) and path.name in str(caught.value)


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="holds no images"):
        find_images(tmp_path, RULE, SHAPE)


def test_files_for_an_input_that_is_no_image(tmp_path):
    save(tmp_path / "a.png", pixels()[0])
    with pytest.raises(DataError, match="is no image"):
        find_images(tmp_path, RULE, (12,))


# --- classes --------------------------------------------------------------------------------------


def test_folders_are_classes(tmp_path):
    for name, count in (("dog", 3), ("cat", 2), ("ant", 1)):
        for index in range(count):
            save(tmp_path / name / f"{index}.png", pixels(seed=index)[0])
    files, labels, names = class_folders(tmp_path)
    assert names == ("ant", "cat", "dog") and labels == [0, 1, 1, 2, 2, 2]
    assert [file.parent.name for file in files] == ["ant", "cat", "cat", "dog", "dog", "dog"]
    listed = ["dog", "emu", "cat", "ant"]
    assert class_folders(tmp_path, listed)[1:] == ([3, 2, 2, 0, 0, 0], tuple(listed))
    # Of each class alike.
    found = find_images(tmp_path, RULE, SHAPE, limit=3, labelled=True)
    assert found.labels.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="no class of the list: ant, dog"):
        class_folders(tmp_path, ["cat", "emu"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: it holds no images"):
        class_folders(tmp_path)
    (tmp_path / "empty").rmdir()
    save(tmp_path / "loose.png", pixels()[0])
    with pytest.raises(DataError, match=r"labels are missing: loose\.png"):
        class_folders(tmp_path)


def test_numbered_folders_are_in_the_order_of_their_numbers(tmp_path):
    for name in range(11):
        save(tmp_path / str(name) / "a.png", pixels()[0])
    assert class_folders(tmp_path)[2] == tuple(map(str, range(11)))
    assert class_folders(tmp_path)[1] == list(range(11))


def test_no_folders(tmp_path):
    with pytest.raises(DataError, match="labels are missing: it holds no folders"):
        class_folders(tmp_path)


def test_names_of_classes(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("cat\ndog\n\n")
    assert read_classes(path) == ["cat", "dog"]
    for text, word in (("", "empty"), ("cat\ncat\n", "'cat' twice")):
        path.write_text(text)
        with pytest.raises(DataError, match=word):
            read_classes(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_classes(tmp_path / "no.txt")


# --- arrays ---------------------------------------------------------------------------------------


def test_arrays_of_pixels_and_of_inputs(tmp_path):
    images = pixels(4)
    wanted = pixels_to_input(images, RULE, SHAPE)
    for name, array in (
        ("last.npy", images),
        ("first.npy", images.transpose(0, 3, 1, 2)),
        ("ready.npy", wanted),
        ("double.npy", wanted.astype(np.float64)),
    ):
        np.save(tmp_path / name, array)
        found = find_images(tmp_path / name, RULE, SHAPE)
        assert np.array_equal(found.all(), wanted), name
    np.savez(tmp_path / "set.npz", images=images, labels=[0, 1, 2, 1])
    found = find_images(tmp_path / "set.npz", RULE, SHAPE, labelled=True, limit=3)
    assert np.array_equal(found.all(), wanted[:3]) and found.labels.tolist() == [0, 1, 2]
    # In the layout of the model, where it is not the one inside.
    last = {**RULE, "layout": "NHWC"}
    found = arrays_to_input(wanted.transpose(0, 2, 3, 1), last, SHAPE, "x")
    assert np.array_equal(found, wanted)
    with pytest.raises(DataError, match=r"\[N, 8, 6, 3\]"):
        arrays_to_input(wanted, last, SHAPE, "x")
    grey = pixels(2, channels=1)[..., 0]
    found = arrays_to_input(grey, {"divide_by": 2}, (1, 8, 6), "x")
    assert np.array_equal(found, grey[:, np.newaxis] / np.float32(2))


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.zeros((0, *SHAPE), np.float32), "N >= 1"),
        (np.zeros((0, 8, 6, 3), np.uint8), "N >= 1"),
        (np.zeros((2, 3, 8, 7), np.float32), "[N, 3, 8, 6]"),
        (np.full((2, *SHAPE), np.nan, np.float32), "not finite"),
        (np.full((2, *SHAPE), np.inf, np.float32), "not finite"),
        (np.zeros((2, *SHAPE), "U1"), "not finite numbers"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, array, word):
    np.save(tmp_path / "bad.npy", array)
    with pytest.raises(DataError) as caught:
        find_images(tmp_path / "bad.npy", RULE, SHAPE)
    assert word in str(caught.value) and "bad.npy" in str(caught.value)


@pytest.mark.parametrize("labels", [None, [1], [0.5, 1.5]])
def test_labels_that_do_not_fit(tmp_path, labels):
    arrays = {"images": pixels(2)} | ({} if labels is None else {"labels": np.array(labels)})
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(DataError, match="label"):
        find_images(tmp_path / "set.npz", RULE, SHAPE, labelled=True)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 no zip"])
def test_damaged_arrays(tmp_path, content):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        find_images(path, RULE, SHAPE)
