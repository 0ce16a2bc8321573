# SPDX-License-Identifier: Apache-2.0
"""`unzipfpga convert` and `unzipfpga eval` as a user runs them: output, status, files left."""

import json
import math

import numpy as np
import pytest

from tests.frontend.models import Builder, residual_network, run
from unzipfpga.cli import main
from unzipfpga.frontend import read_converted
from verif.refmodel import model as golden


@pytest.fixture
def cli(capsys):
    """Run the command; return (status, standard output, standard error)."""

    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return stopped.value.code, out, err

    return call


@pytest.fixture
def source(tmp_path):
    return residual_network().save(tmp_path / "net.onnx")


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.npz"
    images = np.random.default_rng(0).normal(size=(40, 3, 12, 12)).astype(np.float32)
    np.savez(path, images=images)
    return path


def assert_refused(result, tmp_path, *words):
    """Status 2, one line on standard error with these words, nothing printed, nothing written."""
    status, out, err = result
    assert status == 2
    assert out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
    for word in words:
        assert word in err
    assert not (tmp_path / "out.onnx").exists()
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*.part"))


def test_convert_writes_a_model_and_a_table(cli, tmp_path, source, sample):
    out = tmp_path / "out.onnx"
    status, text, err = cli("convert", source, "-o", out, "--calibrate", sample, "--n", 4)
    assert (status, err) == (0, "")
    assert "weight SNR dB" in text and "conv_5" in text and "0.444" in text and "kernel" in text
    axes = [layer.axis for layer in read_converted(out).layers if layer.weighted]
    # The first layer stays dense, the 1x1 projection and the Gemm cannot have codes.
    assert axes == ["dense", "kernel", "kernel", "dense", "kernel", "dense"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "net.onnx",
        "out.onnx",
        "sample.npz",
    ]


def test_convert_reports_as_json(cli, tmp_path, source, sample):
    out = tmp_path / "out.onnx"
    config = tmp_path / "rho.yaml"
    config.write_text("conv_3: 6\nconv_0: 8\n")
    arguments = ("--calibrate", sample, "--rho-config", config, "--n", "4", "--json")
    status, text, err = cli("convert", source, "-o", out, *arguments)
    assert (status, err) == (0, "")
    report = json.loads(text)
    rows = {row["name"]: row for row in report["layers"]}
    assert rows["conv_0"]["n"] == 8 and rows["conv_3"]["n"] == 6 and rows["conv_5"]["n"] == 4
    assert rows["conv_3"]["rho"] == pytest.approx(6 / 9)
    assert rows["conv_3"]["stored_bytes"] == 8 * 8 * 6 and rows["conv_3"]["dense_bytes"] == 576
    assert all(math.isfinite(row["weight_snr_db"]) for row in report["layers"])
    assert report["stored_bytes"] == sum(layer.stored_bytes for layer in read_converted(out).layers)


def test_eval_counts_what_the_golden_model_says(cli, tmp_path, source, sample):
    """Labels of which a known share is right; both accuracies must come out as counted by hand."""
    out = tmp_path / "out.onnx"
    assert cli("convert", source, "-o", out, "--calibrate", sample)[0] == 0
    images = np.random.default_rng(7).normal(size=(300, 3, 12, 12)).astype(np.float32)
    top = run(source, images).argmax(axis=1)
    labels = np.where(np.arange(300) % 3 == 0, (top + 1) % 10, top)
    data = tmp_path / "data.npz"
    np.savez(data, images=images, labels=labels)
    status, text, err = cli("eval", out, "--data", data, "--json")
    assert (status, err) == (0, "")
    report = json.loads(text)
    answers = golden.load(out).run(images).argmax(axis=1)
    assert report["images"] == 300
    assert report["float_accuracy"] == pytest.approx(200 / 300)
    assert report["integer_accuracy"] == pytest.approx((answers == labels).mean())
    assert report["top1_agreement"] == pytest.approx((answers == top).mean())
    assert report["top1_agreement"] < 1  # or the two accuracies could be one and the same run

    status, text, _ = cli("eval", out, "--data", data, "--limit", 30)
    assert status == 0 and "30 images" in text and "66.67 %" in text
    source.rename(tmp_path / "elsewhere.onnx")
    status, text, _ = cli("eval", out, "--data", data, "--limit", 30)
    assert status == 0 and "no floating-point model" in text
    moved = ("--source", tmp_path / "elsewhere.onnx", "--json")
    assert json.loads(cli("eval", out, "--data", data, *moved)[1])["float_accuracy"] > 0.6
    wrong = residual_network(seed=2).save(tmp_path / "other.onnx")
    result = cli("eval", out, "--data", data, "--source", wrong)
    assert result[0] == 2 and "not the model that" in result[2]


def test_a_missing_model(cli, tmp_path, sample):
    out = tmp_path / "out.onnx"
    result = cli("convert", tmp_path / "no.onnx", "-o", out, "--calibrate", sample)
    assert_refused(result, tmp_path, "no.onnx: no such file")


def test_a_truncated_model(cli, tmp_path, source, sample):
    source.write_bytes(source.read_bytes()[:5000])
    result = cli("convert", source, "-o", tmp_path / "out.onnx", "--calibrate", sample)
    assert_refused(result, tmp_path, "net.onnx", "truncated")


def test_an_unsupported_operator_attribute_and_shape(cli, tmp_path, sample):
    def attempt(build):
        b = Builder(["N", 3, 12, 12])
        build(b)
        path = b.save(tmp_path / "net.onnx")
        return cli("convert", path, "-o", tmp_path / "out.onnx", "--calibrate", sample)

    result = attempt(lambda b: (b.conv(4, 3), b.node("Tanh", name="act")))
    assert_refused(result, tmp_path, "node 'act' (Tanh)", "supported: Add, AveragePool, Batch")
    weight = (4, 3, 3, 3)
    result = attempt(lambda b: b.node("Conv", "x", b.normal(*weight), name="c", dilations=[2, 2]))
    assert_refused(result, tmp_path, "node 'c' (Conv)", "dilations = 2, 2", "supported: dilations")
    matrix = ("MatMul", "t0")
    result = attempt(lambda b: (b.conv(4, 3), b.node(*matrix, b.normal(10, 4), name="mm")))
    assert_refused(result, tmp_path, "node 'mm' (MatMul)", "[N, 4, 10, 10]", "flatten first")


def test_an_existing_output_survives_a_failure(cli, tmp_path, source, sample):
    out = tmp_path / "out.onnx"
    assert cli("convert", source, "-o", out, "--calibrate", sample)[0] == 0
    before = out.read_bytes()
    source.write_bytes(source.read_bytes()[:5000])
    assert cli("convert", source, "-o", out, "--calibrate", sample)[0] == 2
    assert out.read_bytes() == before


def test_images_of_the_wrong_shape(cli, tmp_path, source):
    path = tmp_path / "bad.npz"
    np.savez(path, images=np.zeros((4, 1, 28, 28), np.float32))
    result = cli("convert", source, "-o", tmp_path / "out.onnx", "--calibrate", path)
    assert_refused(result, tmp_path, "[4, 1, 28, 28]", "[N, 3, 12, 12]")


def test_mnist_for_another_kind_of_image(cli, tmp_path, source):
    result = cli("convert", source, "-o", tmp_path / "out.onnx", "--calibrate", "mnist")
    assert_refused(result, tmp_path, "1, 28, 28]", "[N, 3, 12, 12]")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "no such file"),
        (b"", "damaged"),
        (b"text", "damaged"),
        ({"a": 1, "b": 2}, "expected an array `images`"),
    ],
)
def test_bad_sample_files(cli, tmp_path, source, content, word):
    path = tmp_path / "bad.npz"
    if isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        path.write_bytes(content)
    result = cli("convert", source, "-o", tmp_path / "out.onnx", "--calibrate", path)
    assert_refused(result, tmp_path, "bad.npz", word)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "cannot be read"),
        ("conv_0: [", "neither YAML nor JSON"),
        ("conv_0: many", "expected lines"),
        ("- 1", "expected lines"),
        ("nothing: 4", "no layer 'nothing'"),
        ("conv_0: 12", "n is 1 to 9"),
        ("conv_0: {n: 4}", "expected lines"),
        ("conv_0: {n: 4, axis: filter}", "expected lines"),
        ("conv_0: {n: 9, axis: channel}", "channel-axis codes, not 9"),
    ],
)
def test_bad_rho_configs(cli, tmp_path, source, sample, text, word):
    path = tmp_path / "rho.yaml"
    if text is not None:
        path.write_text(text)
    arguments = ("--calibrate", sample, "--rho-config", path)
    assert_refused(cli("convert", source, "-o", tmp_path / "out.onnx", *arguments), tmp_path, word)


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--codes", "loudest", "valid: greedy, energy, sequential"),
        ("--method", "guess", "valid: minmax, percentile, entropy"),
        ("--n", "12", "1 to 9"),
        ("--axis", "both", "valid: kernel, channel, auto"),
        ("--n", "four", "valid integer"),
        ("--calibrate-images", "0", "--calibrate-images"),
        ("--wrong", "1", "--wrong"),
    ],
)
def test_bad_options(cli, tmp_path, source, sample, option, value, word):
    arguments = ("--calibrate", sample, option, value)
    assert_refused(cli("convert", source, "-o", tmp_path / "out.onnx", *arguments), tmp_path, word)


def test_output_that_cannot_be_written(cli, tmp_path, source, sample):
    missing = tmp_path / "missing" / "out.onnx"
    result = cli("convert", source, "-o", missing, "--calibrate", sample)
    assert_refused(result, tmp_path, "no directory")
    assert_refused(
        cli("convert", source, "-o", tmp_path, "--calibrate", sample), tmp_path, "is a directory"
    )


def test_eval_refuses(cli, tmp_path, source, sample):
    out = tmp_path / "out.onnx"
    result = cli("eval", source, "--data", sample)
    assert_refused(result, tmp_path, "not a converted model")
    assert cli("convert", source, "-o", out, "--calibrate", sample)[0] == 0
    for data, word in ((sample, "labels"), ("mnist", "[10000, 1, 28, 28]"), ("x.npz", "no such")):
        status, text, err = cli("eval", out, "--data", data)
        assert (status, text, err.count("\n")) == (2, "", 1)
        assert word in err


def test_help_and_version(cli):
    status, text, _ = cli("--help")
    assert status == 0 and "convert" in text and "eval" in text
    assert cli("--version")[1].startswith("unzipfpga ")
    assert cli("explode")[0] == 2


def test_unknown_width(cli, tmp_path, source, sample):
    out = tmp_path / "out.onnx"
    result = cli("convert", source, "-o", out, "--calibrate", sample, "--dw", 12)
    assert_refused(result, tmp_path, "--dw 12: unknown; valid: 8, 16")


def test_sixteen_bits_take_twice_the_bytes(cli, tmp_path, source, sample):
    reports = {}
    for dw in (8, 16):
        out = tmp_path / f"out{dw}.onnx"
        options = ("--calibrate", sample, "--n", 4, "--dw", dw, "--json")
        status, text, _ = cli("convert", source, "-o", out, *options)
        assert status == 0
        reports[dw] = json.loads(text)
    assert [reports[dw]["dw"] for dw in (8, 16)] == [8, 16]
    for key in ("stored_bytes", "dense_bytes"):
        assert reports[16][key] == 2 * reports[8][key]


def test_convert_says_what_is_left_to_the_host(cli, tmp_path, sample):
    b = residual_network()
    b.node("Softmax", name="probabilities")
    source, out = b.save(tmp_path / "net.onnx"), tmp_path / "out.onnx"
    status, text, _ = cli("convert", source, "-o", out, "--calibrate", sample)
    assert status == 0
    assert "left to the host, behind the output: Softmax 'probabilities'\n" in text
    status, text, _ = cli("convert", source, "-o", out, "--calibrate", sample, "--json")
    step = {"op": "Softmax", "name": "probabilities", "axis": -1}
    assert status == 0 and json.loads(text)["host"] == [step]
    assert read_converted(out).host == (step,)


def test_convert_without_images(cli, tmp_path, source):
    """A floating-point model needs some, a quantised one does not."""
    out = tmp_path / "out.onnx"
    result = cli("convert", source, "-o", out)
    assert_refused(result, tmp_path, "does not state the range of x", "(--calibrate)")
    b = Builder(["N", 3, 6, 6])
    scale, zero = b.constant(0.05), b.constant(0, np.int8)
    for step in (lambda: None, lambda: b.conv(4, 3)):
        step()
        b.node("QuantizeLinear", b.tensor, scale, zero)
        b.node("DequantizeLinear", b.tensor, scale, zero)
    quantised = b.save(tmp_path / "quantised.onnx")
    status, text, err = cli("convert", quantised, "-o", out)
    assert (status, err) == (0, "") and "conv" in text
    scales = [tensor.scale for tensor in read_converted(out).tensors.values()]
    assert scales == [pytest.approx(0.05)] * 2


def test_convert_lists_all_problems(cli, tmp_path, sample):
    b = Builder(["N", 3, 12, 12])
    b.node("Conv", "x", b.normal(4, 3, 3, 3), name="first", dilations=[2, 2])
    b.node("LeakyRelu", name="second")
    b.conv(4, 4)
    source, out = b.save(tmp_path / "net.onnx"), tmp_path / "out.onnx"
    status, text, err = cli("convert", source, "-o", out, "--calibrate", sample)
    assert (status, text) == (2, "") and not out.exists()
    lines = err.splitlines()
    assert lines[0].endswith("net.onnx: 2 problems:")
    assert [line.split("'")[1] for line in lines[1:]] == ["first", "second"]
