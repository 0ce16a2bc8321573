# SPDX-License-Identifier: Apache-2.0
"""Whole networks on the RTL, against the golden model.

Real digits through the trained MNIST network, and ResNet-18 with random weights at full size.
"""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from unzipfpga.bench.measure import PreparedNetwork, prepare_network
from unzipfpga.bench.networks import Coding
from unzipfpga.compiler import compile_model
from unzipfpga.compiler.tokens import Token
from unzipfpga.config import load_config
from unzipfpga.data import load_mnist, normalise
from unzipfpga.frontend import Options, convert, write_converted
from unzipfpga.sim import Memory, NetworkRun, run_network
from unzipfpga.source_tree import ROOT
from verif.refmodel.model import Model, load
from verif.seqs.engine_faults import without_wait

MODEL = ROOT / "examples" / "mnist" / "mnist.onnx"
DIGITS = 4


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    """Images to calibrate with, and test digits of different classes."""
    data = load_mnist()
    chosen = [int(np.flatnonzero(data.test_labels == label)[3]) for label in range(DIGITS)]
    return {
        "calibration": normalise(data.train_images[:100]),
        "digits": normalise(data.test_images[chosen]),
    }


OPTIONS = {
    "dense": (Options(), {"dense"}),
    "ovsf6": (Options(n=6), {"dense", "kernel"}),
    # Two convolutions and the first fully connected layer, behind a flatten.
    "channel10": (Options(n=10, axis="channel", per_layer={"fc1": 10}), {"dense", "channel"}),
}


@pytest.mark.parametrize("config", ["base", "wide"])
@pytest.mark.parametrize(("options", "axes"), OPTIONS.values(), ids=OPTIONS)
def test_digits(
    config: str,
    options: Options,
    axes: set[str],
    images: dict[str, np.ndarray],
    tmp_path: Path,
) -> None:
    """Every logit is the golden model's; the classes are those of the digits."""
    path = tmp_path / "model.onnx"
    options = replace(options, dw=load_config(config).DW)
    network, _ = convert(MODEL, lambda _graph: images["calibration"], options)
    assert {layer.axis for layer in network.layers if layer.weighted} == axes
    write_converted(network, path)
    memory = Memory(bytes_per_cycle=4, latency=50, stall=0.05)
    run = run_network(compile_model(path, config), images["digits"], memory=memory, seed=7)
    golden = load(path)
    mismatches = differing(run, golden, images["digits"])
    assert mismatches == 0, f"{mismatches} logits differ from the golden model's"
    assert run.outputs.argmax(axis=1).tolist() == list(range(DIGITS))
    # Negative twin: the comparison sees a single wrong step of a single logit.
    run.outputs[1, 2] += 1
    assert differing(run, golden, images["digits"]) == 1


@pytest.fixture(scope="module")
def coded(images: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the network with codes, converted."""
    path = tmp_path_factory.mktemp("memories") / "model.onnx"
    write_converted(convert(MODEL, lambda _graph: images["calibration"], Options(n=6))[0], path)
    return path


def random_memory(seed: int) -> Memory:
    """Return random settings of the memory: fast and slow, near and far, steady and not."""
    rng = np.random.default_rng(seed)
    rate = Fraction(int(rng.integers(4, 100)), int(rng.integers(2, 13)))
    return Memory(
        bytes_per_cycle=rate if rng.random() < 0.8 else 0,
        latency=int(rng.choice([2, 3, 20, 100, 300])),
        stall=float(rng.choice([0, 0, 0.1, 0.5])),
        latency_spread=int(rng.choice([0, 0, 10, 200])),
        jitter=bool(rng.random() < 0.5),
    )


MEMORIES = [
    pytest.param(seed, marks=[pytest.mark.slow] if seed >= 3 else []) for seed in range(100)
]


@pytest.mark.parametrize("seed", MEMORIES)
def test_outputs_do_not_depend_on_the_memory(
    seed: int, coded: Path, images: dict[str, np.ndarray]
) -> None:
    """Bandwidth, latency and stalls at random change the time, not a bit of an output."""
    memory = random_memory(seed)
    digits = images["digits"]
    run = run_network(compile_model(coded, "base"), digits, memory=memory, seed=seed + 1)
    assert differing(run, load(coded), digits) == 0, memory


@pytest.fixture(scope="module")
def resnet() -> PreparedNetwork:
    """Return ResNet-18 at 224x224, compiled once for preset `bench`, and what it must give."""
    return prepare_network("resnet18", Coding(4, 8), "bench", load_config("bench"))


def resnet_mismatches(seed: int, resnet: PreparedNetwork) -> int:
    """Return how many of ResNet-18's outputs are wrong behind a random memory."""
    memory = random_memory(seed)
    test = f"{Path(__file__).relative_to(ROOT)}::{test_resnet18_behind_random_memories.__name__}"
    print(f"seed {seed}: {memory}\nrepeat with: .venv/bin/python -m pytest '{test}[{seed}]'")
    run = run_network(resnet.compiled, resnet.images, memory=memory, seed=seed + 1)
    assert run.outputs.shape == resnet.golden.shape == (1, 1000)
    assert len(np.unique(run.outputs)) > 50
    return int((run.outputs != resnet.golden).sum())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_resnet18_behind_random_memories(seed: int, resnet: PreparedNetwork) -> None:
    """The same program and image: every output is the golden model's."""
    assert resnet_mismatches(seed, resnet) == 0


@pytest.mark.slow
def test_a_race_in_resnet18_shows(resnet: PreparedNetwork) -> None:
    """Negative twin: a program that does not wait for its image computes wrongly."""
    program = without_wait(resnet.compiled.program, Token.LOAD_MAC, every=True)
    racing = replace(resnet, compiled=replace(resnet.compiled, program=program))
    assert resnet_mismatches(4, racing) > 0


def differing(run: NetworkRun, golden: Model, digits: np.ndarray) -> int:
    """Return how many logits of a run differ from the golden model's."""
    expected = golden.run(digits)
    assert run.outputs.shape == expected.shape == (DIGITS, 10)
    return int((run.outputs != expected).sum())
