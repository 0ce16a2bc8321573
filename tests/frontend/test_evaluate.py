# SPDX-License-Identifier: Apache-2.0
"""Evaluation on folders and arrays, in float, integers and RTL, and the report of each layer."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

import unzipfpga.evaluate
from tests.frontend.models import Builder, fire_network, residual_network, run, shortcut_network
from tests.frontend.test_cli import cli
from unzipfpga.data import load_mnist
from unzipfpga.errors import DataError, ModelError
from unzipfpga.evaluate import accuracy, evaluate, float_runtime
from unzipfpga.frontend import (
    Options,
    convert,
    find_images,
    layer_noise,
    read_converted,
    read_float,
    write_converted,
)
from unzipfpga.ovsf import snr_db
from unzipfpga.sim import run_network
from verif.refmodel import model as golden

MNIST = Path(__file__).resolve().parents[2] / "examples" / "mnist" / "mnist.onnx"
__all__ = ["cli"]  # the fixture


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Three digits of each class as PNG files, one folder a class."""
    folder = tmp_path_factory.mktemp("digits")
    data = load_mnist()
    for label in range(10):
        (folder / str(label)).mkdir()
        for index in np.flatnonzero(data.test_labels == label)[:3]:
            Image.fromarray(data.test_images[index]).save(folder / str(label) / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def model(digits, tmp_path_factory):
    """The MNIST network with codes, calibrated on the folder, next to its source."""
    folder = tmp_path_factory.mktemp("model")
    (folder / MNIST.name).write_bytes(MNIST.read_bytes())
    network, _ = convert(folder / MNIST.name, digits, Options(n=8))
    write_converted(network, folder / "converted.onnx")
    return folder / "converted.onnx"


# --- accuracy -------------------------------------------------------------------------------------


def test_accuracy_by_hand():
    logits = np.array([[3, 1, 2, 0], [0, 0, 0, 0], [-9, -1, -5, -2]], np.int32)
    labels = np.array([0, 1, 2])
    assert accuracy(logits, labels) == pytest.approx(1 / 3)
    assert accuracy(logits, labels, 2) == pytest.approx(2 / 3)  # of equals the first two
    assert accuracy(logits, labels, 3) == 1.0
    assert accuracy(logits.astype(np.float32), np.array([2, 0, 1])) == pytest.approx(2 / 3)


def test_a_folder_of_digits(cli, digits, model, tmp_path):
    out = tmp_path / "outputs.npz"
    status, text, err = cli("eval", model, digits, "--outputs", out, "--json")
    assert (status, err) == (0, "")
    report = json.loads(text)
    data = load_mnist()
    chosen = np.concatenate([np.flatnonzero(data.test_labels == c)[:3] for c in range(10)])
    # Files are in the order of their names, not of their numbers.
    order = [sorted(chosen[3 * c : 3 * c + 3], key=lambda i: f"{i}.png") for c in range(10)]
    images = ((data.test_images[np.concatenate(order)] / 255 - 0.1307) / 0.3081)[:, np.newaxis]
    images = images.astype(np.float32)
    labels = np.repeat(np.arange(10), 3)
    integers = golden.load(model).run(images)
    with np.load(out) as arrays:
        assert np.array_equal(arrays["labels"], labels)
        assert np.abs(arrays["integers"] - integers).max() <= 1  # float64 against float32 pixels
        scale = read_converted(model).tensors[read_converted(model).output].scale
        assert np.allclose(arrays["dequantised"], arrays["integers"] * scale)
        assert np.array_equal(arrays["results"], arrays["dequantised"])  # no host's steps
        assert np.allclose(arrays["reals"], run(MNIST, images), atol=1e-3)
        assert "rtl" not in arrays
    assert report["images"] == 30 and report["rtl"] is None
    assert report["integer_accuracy"] == pytest.approx((integers.argmax(1) == labels).mean())
    assert report["float_accuracy"] == 1.0
    assert "integer_accuracy_top5" not in report
    status, text, _ = cli("eval", model, digits, "--limit", 10)
    assert status == 0 and "10 images" in text and "same top-1 answer" in text


def test_what_is_left_to_the_host_is_applied(cli, digits, tmp_path):
    """The source ends in a softmax: `results` are its probabilities, `dequantised` logits."""
    proto = onnx.load(MNIST)
    (logits,) = proto.graph.output
    proto.graph.node.append(helper.make_node("Softmax", [logits.name], ["chances"], axis=1))
    chances = helper.make_tensor_value_info("chances", TensorProto.FLOAT, None)
    del proto.graph.output[:]
    proto.graph.output.append(chances)
    onnx.save(proto, tmp_path / "source.onnx")
    network, _ = convert(tmp_path / "source.onnx", digits, Options())
    assert [step["op"] for step in network.host] == ["Softmax"]
    write_converted(network, tmp_path / "converted.onnx")
    out = tmp_path / "outputs.npz"
    status, _, err = cli("eval", tmp_path / "converted.onnx", digits, "--outputs", out, "--json")
    assert (status, err) == (0, "")
    with np.load(out) as arrays:
        scale = network.tensors[network.output].scale
        assert np.allclose(arrays["dequantised"], arrays["integers"] * scale)
        powers = np.exp(arrays["dequantised"].astype(np.float64))
        wanted = powers / powers.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(arrays["results"], wanted, rtol=1e-5)
        assert np.abs(arrays["results"] - arrays["reals"]).max() < 0.1
        assert np.abs(arrays["dequantised"] - arrays["reals"]).max() > 1  # without the softmax


def test_images_in_rtl(cli, digits, model, tmp_path, monkeypatch):
    out = tmp_path / "outputs.npz"
    arguments = ("eval", model, digits, "--rtl", 2, "--config", "base")
    status, text, err = cli(*arguments, "--outputs", out, "--json")
    assert (status, err) == (0, "")
    found = json.loads(text)["rtl"]
    assert found == {"images": 2, "outputs": 20, "mismatches": 0, "accuracy": 1.0}
    with np.load(out) as arrays:
        assert arrays["rtl_indices"].tolist() == [0, 15]
        assert np.array_equal(arrays["rtl"], arrays["integers"][[0, 15]])

    def wrong(*args, **options):
        result = run_network(*args, **options)
        result.outputs[1, 3] += 1
        return dataclasses.replace(result)

    # Negative twin: one wrong step of one output is seen.
    monkeypatch.setattr(unzipfpga.evaluate, "run_network", wrong)
    status, text, _ = cli(*arguments)
    assert status == 1 and "20 outputs compared" in text and "1 mismatches" in text


def test_eval_refuses_folders_that_do_not_fit(cli, digits, model, tmp_path):
    def refused(*arguments):
        status, text, err = cli("eval", model, *arguments)
        assert (status, text, err.count("\n")) == (2, "", 1)
        return err

    nine = tmp_path / "nine"
    nine.mkdir()
    for label in range(9):
        (nine / str(label)).symlink_to(digits / str(label))
    assert "9 classes (0, 1, 2, 3, 4, ...), the model has 10 outputs" in refused(nine)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(map(str, range(10))))
    assert cli("eval", model, nine, "--classes", names)[0] == 0
    names.write_text("\n".join(map(str, range(11))))
    assert "11 classes" in refused(nine, "--classes", names)
    assert "labels are missing" in refused(digits / "3")
    assert "name one set" in refused()
    assert "name one set" in refused(digits, "--data", "mnist")
    assert "no such file or folder" in refused(tmp_path / "no")
    assert "name a preset" in refused(digits, "--rtl", 1)
    assert "no directory" in refused(digits, "--outputs", tmp_path / "no" / "o.npz")
    np.savez(tmp_path / "set.npz", images=np.zeros((2, 1, 28, 28), np.float32), labels=[3, 10])
    assert "labels are 3 to 10, the model has the outputs 0 to 9" in refused(
        "--data", tmp_path / "set.npz"
    )
    broken = tmp_path / "broken"
    for label in range(10):
        (broken / str(label)).mkdir(parents=True)
        (broken / str(label) / "a.png").write_bytes(
            next((digits / str(label)).iterdir()).read_bytes()[: 100 if label == 7 else None]
        )
    out = tmp_path / "o.npz"
    assert "7/a.png: not an image, or a damaged one" in refused(broken, "--outputs", out)
    assert not out.exists() and not list(tmp_path.glob(".*"))


def test_top_five_of_many_classes(cli, tmp_path):
    b = Builder(["N", 1, 6, 6])
    b.conv(8, 1)
    b.node("Relu")
    b.node("Flatten")
    b.gemm(20, 128)
    source = b.save(tmp_path / "net.onnx")
    images = np.random.default_rng(0).normal(size=(40, 1, 6, 6)).astype(np.float32)
    network, _ = convert(source, images)
    write_converted(network, tmp_path / "converted.onnx")
    order = np.argsort(-run(source, images), axis=1)
    labels = np.where(np.arange(40) < 10, order[:, 0], order[:, 3])
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    arguments = ("eval", tmp_path / "converted.onnx", "--data", tmp_path / "set.npz")
    report = json.loads(cli(*arguments, "--json")[1])
    assert report["float_accuracy"] == 0.25 and report["float_accuracy_top5"] == 1.0
    assert report["integer_accuracy"] <= report["integer_accuracy_top5"]
    text = cli(*arguments)[1]
    assert "top-5" in text and "100.00 %" in text


def test_a_source_of_a_fixed_batch_and_of_another_layout(tmp_path):
    b = Builder([4, 5, 5, 3])
    b.node("Transpose", perm=[0, 3, 1, 2])
    b.conv(2, 3)
    b.node("Flatten")
    path = b.save(tmp_path / "net.onnx")
    images = np.random.default_rng(0).normal(size=(10, 3, 5, 5)).astype(np.float32)
    found = float_runtime(path, "NHWC")(images)
    padded = np.concatenate([images, images[:2]]).transpose(0, 2, 3, 1)
    wanted = [run(path, np.ascontiguousarray(padded[i : i + 4])) for i in (0, 4, 8)]
    assert found.shape == (10, 18) and np.array_equal(found, np.concatenate(wanted)[:10])
    with pytest.raises(ModelError, match="ONNX Runtime refuses it"):
        float_runtime(path, "NCHW")(images)


def test_an_output_that_is_no_class(tmp_path):
    b = Builder(["N", 1, 6, 6])
    b.conv(8, 1)
    images = np.random.default_rng(0).normal(size=(4, 1, 6, 6)).astype(np.float32)
    network, _ = convert(b.save(tmp_path / "net.onnx"), images)
    write_converted(network, tmp_path / "converted.onnx")
    np.savez(tmp_path / "set.npz", images=images, labels=[0, 1, 2, 3])
    found = find_images(tmp_path / "set.npz", {}, (1, 6, 6), labelled=True)
    with pytest.raises(DataError, match=r"shape \[N, 8, 4, 4\]: no class"):
        evaluate(tmp_path / "converted.onnx", found)


# --- conversion from files ------------------------------------------------------------------------


def test_preprocessing_is_stored_and_read_from_the_model(cli, tmp_path):
    """Whatever eval is fed is preprocessed as the converted model says, never anew."""
    source = residual_network().save(tmp_path / "net.onnx")
    random = np.random.default_rng(0)
    for label in range(10):
        folder = tmp_path / "photos" / str(label)
        folder.mkdir(parents=True)
        image = random.integers(0, 256, (20, 16, 3), np.uint8)
        Image.fromarray(image).save(folder / "a.png")
    rule = "{divide_by: 100, mean: [1, 1.2, 1.4], std: 0.5, channels: BGR, resize: 14}"
    out = tmp_path / "out.onnx"
    arguments = ("convert", source, "-o", out, "--calibrate", tmp_path / "photos")
    status, text, err = cli(*arguments, "--preprocess", rule, "--n", 6, "--json")
    assert (status, err) == (0, "")
    stored = read_converted(out).preprocess
    assert stored == json.loads(text)["preprocess"]
    assert stored == {
        "layout": "NCHW",
        "divide_by": 100,
        "mean": [1, 1.2, 1.4],
        "std": 0.5,
        "channels": "BGR",
        "resize": 14,
    }
    images = find_images(tmp_path / "photos", stored, (3, 12, 12)).all()
    status, _, _ = cli("eval", out, tmp_path / "photos", "--outputs", tmp_path / "o.npz")
    assert status == 0
    with np.load(tmp_path / "o.npz") as arrays:
        assert np.array_equal(arrays["integers"], golden.load(out).run(images))
        assert np.array_equal(arrays["reals"], run(source, images))
    for wrong, word in (
        ("{mean: 1}", "resize"),
        ("{mean: 1, resize: 8}", "smaller"),
        ("{mean: [1, 2], resize: 14}", "2 numbers for 3 channels"),
        ("{layout: NHWC}", "layout is NHWC, the model's input is NCHW"),
        ("{scale: 1}", "scale"),
    ):
        out.unlink(missing_ok=True)
        status, text, err = cli(*arguments, "--preprocess", wrong)
        assert (status, text, err.count("\n")) == (2, "", 1) and word in err
        assert not out.exists()
    status, _, err = cli(*arguments)
    assert status == 2 and "does not say how pixels become its input" in err
    (tmp_path / "empty").mkdir()
    status, _, err = cli("convert", source, "-o", out, "--calibrate", tmp_path / "empty")
    assert status == 2 and "holds no images" in err and not out.exists()


def test_arrays_of_a_model_of_another_layout(tmp_path):
    """What is calibrated on [N, H, W, C] is what the same images in [N, C, H, W] give."""
    model = residual_network().model()
    images = np.random.default_rng(0).normal(size=(20, 3, 12, 12)).astype(np.float32)
    found = {}
    for name in ("first", "last"):
        path, given = tmp_path / f"{name}.onnx", images
        if name == "last":
            given = images.transpose(0, 2, 3, 1)
            (source,) = model.graph.input
            node = helper.make_node("Transpose", ["image"], [source.name], perm=[0, 3, 1, 2])
            model.graph.node.insert(0, node)
            source.CopyFrom(
                helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 12, 12, 3])
            )
        onnx.save(model, path)
        found[name], _ = convert(path, given, Options(n=6))
    assert found["last"].preprocess == {"layout": "NHWC"}
    scales = [[t.scale for t in network.tensors.values()] for network in found.values()]
    assert scales[0] == scales[1]


@pytest.mark.parametrize("options", [{}, {"n": 6}, {"dw": 16, "n": 4, "axis": "auto"}])
@pytest.mark.parametrize("make", [residual_network, shortcut_network, fire_network])
def test_a_converted_model_is_written_unchanged(cli, tmp_path, make, options):
    b = make()
    source = b.save(tmp_path / "net.onnx")
    images = np.random.default_rng(0).normal(size=(20, *b.shape[1:])).astype(np.float32)
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    write_converted(convert(source, images, Options(**options))[0], first)
    status, text, err = cli("convert", first, "-o", second)
    assert (status, err) == (0, "") and "wrote" in text
    assert first.read_bytes() == second.read_bytes()
    # Onto itself, too.
    assert cli("convert", first, "-o", first)[0] == 0
    assert first.read_bytes() == second.read_bytes()
    second.unlink()
    status, _, err = cli("convert", first, "-o", second, "--n", 4, "--calibrate", "mnist")
    assert status == 2 and "leave out --calibrate, --n" in err and not second.exists()
    with pytest.raises(ModelError, match="it is converted already"):
        convert(first, images)
    with pytest.raises(ModelError, match="it is converted already"):
        convert(first, None, Options(n=4))
    # Negative twin: a file that means the same but holds other bytes is not passed off as ours.
    changed = onnx.load(first)
    changed.doc_string = "edited"
    onnx.save(changed, first)
    status, _, err = cli("convert", first, "-o", second)
    assert status == 2 and "not as this version writes it" in err and not second.exists()


def test_what_is_missing(cli, tmp_path):
    source = residual_network().save(tmp_path / "net.onnx")
    status, _, err = cli("convert", source, "-o", tmp_path / "out.onnx")
    assert status == 2 and "sample images to calibrate with are missing (--calibrate)" in err
    with pytest.raises(DataError, match="images to calibrate with are missing"):
        convert(source)


def test_shares_and_targets_on_the_command_line(cli, tmp_path):
    source = residual_network().save(tmp_path / "net.onnx")
    np.save(tmp_path / "s.npy", np.random.default_rng(0).normal(size=(20, 3, 12, 12)))
    config = tmp_path / "rho.yaml"
    config.write_text("conv_3: {rho: 0.25}\ngemm_14: {rho: 0.5, axis: channel}\n")
    arguments = ("convert", source, "-o", tmp_path / "o.onnx", "--calibrate", tmp_path / "s.npy")

    def codes(*options):
        status, text, err = cli(*arguments, *options, "--json")
        assert (status, err) == (0, "")
        rows = {row["name"]: row for row in json.loads(text)["layers"]}
        assert (
            all(
                (row["output_snr_db"] is not None) == (row["n"] is not None)
                for row in rows.values()
            )
            or "--target-snr" in options
        )
        return {name: row["n"] for name, row in rows.items() if row["n"]}

    assert codes("--rho", 0.5) == {"conv_3": 5, "conv_5": 5, "conv_9": 5}
    found = codes("--rho", 0.9, "--rho-config", config)
    assert found == {"conv_3": 2, "conv_5": 8, "conv_9": 8, "gemm_14": 8}
    few, many = codes("--target-snr", 5), codes("--target-snr", 15)
    assert set(few) == {"conv_3", "conv_5", "conv_9"}
    assert all(few[name] <= many.get(name, 9) for name in few) and sum(few.values()) < 27
    for options, word in (
        (("--rho", 0.5, "--n", 4), "exclude each other"),
        (("--rho", 1.5), "at most 1"),
        (("--rho", 0), "more than 0"),
        (("--target-snr", "nan"), "a number of dB"),
        (("--fit", "both"), "valid: outputs, weights"),
        (("--method", "percentile", "--percentile", 0), "at most 100"),
    ):
        status, _, err = cli(*arguments, *options)
        assert status == 2 and word in err
    config.write_text("conv_3: {rho: 2}\n")
    status, _, err = cli(*arguments, "--rho-config", config)
    assert status == 2 and "layer 'conv_3': rho is more than 0" in err


# --- what each layer costs ------------------------------------------------------------------------


def inner(path, name, images):
    model = onnx.load(path)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return run(model, images)


@pytest.mark.parametrize("make", [residual_network, shortcut_network, fire_network])
def test_noise_of_each_layer(cli, tmp_path, make):
    """The whole network's against tensors taken from both files; a layer's own against a by-hand
    rounding of its float result, for layers whose integers are as good as exact."""
    b = make()
    source = b.save(tmp_path / "net.onnx")
    images = np.random.default_rng(0).normal(size=(30, *b.shape[1:])).astype(np.float32)
    network, _ = convert(source, images, Options(n=6, dense_first=False))
    path = tmp_path / "converted.onnx"
    write_converted(network, path)
    graph = read_float(source)
    rows = {row.name: row for row in layer_noise(network, graph, images)}
    weighted = [layer for layer in network.layers if layer.weighted]
    assert list(rows) == [network.input, *(layer.name for layer in weighted)]
    for layer in weighted:
        exact = inner(source, layer.output, images) if layer.output in graph.shapes else None
        wanted = snr_db(exact, inner(path, layer.output, images))
        assert rows[layer.name].total_db == pytest.approx(wanted, abs=0.2), layer.name
        assert rows[layer.name].weights_db >= rows[layer.name].own_db - 0.5
        # A layer with 6 of 9 codes of random weights costs far more than a dense one.
        if layer.axis == "kernel":
            assert rows[layer.name].codes == "6/9" and rows[layer.name].weights_db < 35
        elif layer.multiplies:
            assert rows[layer.name].weights_db > 36 and rows[layer.name].own_db > 28
    scale = np.float32(network.tensors[network.input].scale)
    rounded = np.clip(np.rint(images / scale), -127, 127) * scale
    wanted = snr_db(images, rounded)
    first = rows[network.input]
    assert first.own_db == pytest.approx(wanted, abs=1e-3) == pytest.approx(first.total_db)
    assert first.weights_db == float("inf")

    np.save(tmp_path / "images.npy", images)
    status, text, err = cli("snr", path, "--data", tmp_path / "images.npy", "--json")
    assert (status, err) == (0, "")
    layers = json.loads(text)["layers"]
    assert layers[0]["weights_db"] is None and len(layers) == len(rows)
    assert layers[-1]["total_db"] == pytest.approx(rows[weighted[-1].name].total_db, abs=1e-6)
    status, text, _ = cli("snr", path, "--data", tmp_path / "images.npy", "--limit", 5)
    assert status == 0 and "5 images" in text and "so far" in text


def test_noise_finds_the_layer_that_is_spoilt(tmp_path):
    """Planted fault: other weights in one layer lower that layer's own ratio and no other's."""
    b = residual_network()
    source = b.save(tmp_path / "net.onnx")
    images = np.random.default_rng(0).normal(size=(30, *b.shape[1:])).astype(np.float32)
    network, _ = convert(source, images)
    graph = read_float(source)
    before = layer_noise(network, graph, images)
    layers = list(network.layers)
    spoilt = next(i for i, layer in enumerate(layers) if layer.name == "conv_5")
    weights = layers[spoilt].weights.copy()
    weights[0] = np.roll(weights[0], 1)
    layers[spoilt] = dataclasses.replace(layers[spoilt], weights=weights)
    after = layer_noise(dataclasses.replace(network, layers=tuple(layers)), graph, images)
    for old, new in zip(before, after, strict=True):
        if new.name == "conv_5":
            assert new.own_db < old.own_db - 10 and new.weights_db < old.weights_db - 10
        else:
            assert new.own_db == pytest.approx(old.own_db)
    assert after[-1].total_db < before[-1].total_db - 3


def test_noise_against_another_network_is_refused(cli, tmp_path):
    b = residual_network()
    images = np.random.default_rng(0).normal(size=(8, *b.shape[1:])).astype(np.float32)
    network, _ = convert(b.save(tmp_path / "net.onnx"), images)
    other = Builder(["N", 3, 12, 12])
    other.conv(4, 3)
    with pytest.raises(ModelError, match="it is not what the network was converted from"):
        layer_noise(network, read_float(other.save(tmp_path / "other.onnx")), images)
    write_converted(network, tmp_path / "moved.onnx")
    (tmp_path / "net.onnx").unlink()
    np.save(tmp_path / "images.npy", images)
    status, _, err = cli("snr", tmp_path / "moved.onnx", "--data", tmp_path / "images.npy")
    assert status == 2 and "pass --source" in err
