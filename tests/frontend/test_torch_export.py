# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules: with PyTorch where it is installed, with a stand-in for it everywhere."""

import sys
import types

import numpy as np
import onnx
import pytest

from tests.frontend.models import Builder, outputs_of, run
from unzipfpga.errors import ModelError
from unzipfpga.frontend.importer import import_model
from unzipfpga.frontend.torch_export import import_torch


class Module:
    """What `import_torch` needs of a module."""

    training = True

    def __init__(self):
        self.modes = []

    def eval(self):
        self.modes.append(False)

    def train(self, mode):
        self.modes.append(mode)


def stand_in(monkeypatch, export):
    """Put a module in the place of torch whose exporter is `export`."""

    class NoGrad:
        __enter__ = __exit__ = lambda self, *_: None

    torch = types.ModuleType("torch")
    torch.no_grad = NoGrad
    torch.onnx = types.SimpleNamespace(export=export)
    monkeypatch.setitem(sys.modules, "torch", torch)


def network():
    b = Builder([1, 3, 8, 8])
    b.conv(4, 3)
    b.node("Relu")
    return b


def test_without_pytorch_the_error_says_what_helps(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError) as caught:
        import_torch(Module(), np.zeros((1, 3, 8, 8)))
    assert "PyTorch is not installed; install it (`pip install torch" in str(caught.value)


def test_what_the_exporter_writes_is_read(monkeypatch):
    seen = {}

    def export(module, arguments, path, **options):
        seen.update(options, shape=arguments[0].shape, mode=list(module.modes))
        onnx.save(network().model(), path)

    stand_in(monkeypatch, export)
    module = Module()
    model = import_torch(module, np.zeros((4, 3, 8, 8), np.float32))
    # One image, in inference mode; the module is left as it was.
    assert seen["shape"] == (1, 3, 8, 8) and seen["mode"] == [False]
    assert module.modes == [False, True]
    assert (seen["input_names"], seen["output_names"]) == (["input"], ["output"])
    images = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    wanted = run(network().model(), images)
    np.testing.assert_allclose(outputs_of(import_model(model, "m"), images), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ModuleNotFoundError("No module", name="onnxscript"), "exporter lacks onnxscript; install"),
        (RuntimeError("data-dependent\nmore"), "Module: PyTorch cannot export it: data-dependent"),
    ],
)
def test_what_the_exporter_says_is_passed_on(monkeypatch, error, text):
    def export(*_arguments, **_options):
        raise error

    stand_in(monkeypatch, export)
    module = Module()
    with pytest.raises(ModelError) as caught:
        import_torch(module, np.zeros((1, 3, 8, 8)))
    assert text in str(caught.value) and "\n" not in str(caught.value)
    assert module.modes == [False, True]


def test_a_real_module():
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    nn = torch.nn
    torch.manual_seed(1)
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, groups=8, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(8, 5),
        nn.Softmax(1),
    )
    body[1].running_mean.normal_()
    body[1].running_var.uniform_(0.5, 2.0)
    images = torch.randn(4, 3, 16, 16)
    graph = import_model(import_torch(body, images), "module")
    assert [layer.kind for layer in graph.layers] == ["conv", "conv", "maxpool", "gemm"]
    assert [step["op"] for step in graph.host] == ["Softmax"] and body.training
    body.eval()
    wanted = body(images).detach().numpy()
    np.testing.assert_allclose(outputs_of(graph, images.numpy()), wanted, atol=1e-5)
