# SPDX-License-Identifier: Apache-2.0
"""Average pools that leave their padding out, on the RTL: bit exact, and as fast as predicted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.blocks.test_small_act_mem import on_build
from tests.compiler.harness import random_images
from tests.compiler.networks import Builder
from tests.compiler.test_stripes import SOURCE
from unzipfpga.bench.model import LAYER_BOUND
from unzipfpga.compiler import Compiled, compile_network
from unzipfpga.config import Config, load_config
from unzipfpga.frontend import Network, write_converted
from unzipfpga.model import predict
from unzipfpga.sim import Memory, run_network
from verif.env.engine_model import golden
from verif.refmodel.model import Model, load
from verif.seqs.engine_faults import edit_computes

MEMORY = Memory(bytes_per_cycle=4, latency=50)


def averaging(config: Config) -> Builder:
    """Windows of several kinds, one added to, one pooled in its drain."""
    net = Builder((config.T_P + 3, 14, 16), 7, config.DW)
    net.conv("conv", config.T_P + 3, (1, 1), relu=False)
    net.average("mean3", (3, 3), (1, 1), (1, 1, 1, 1), counted=False)
    net.average("sum", (3, 3), (1, 1), (1, 1, 1, 1), counted=False, residual="conv.out")
    net.average("mean5", (5, 2), (1, 1), (2, 0, 2, 1), counted=False)
    net.pool("pool", 2, 2, (0, 0, 0, 0))
    net.average("last", (3, 3), (2, 2), (1, 0, 0, 1), counted=False)
    assert sum(bool(layer.counts) for layer in net.layers) == 4
    return net


def small(config: Config) -> Builder:
    """Two kinds of windows on a map that stays in act mem."""
    net = Builder((config.T_P + 3, 6, 7), 7, config.DW)
    net.average("mean", (3, 3), (1, 1), (1, 1, 1, 1), counted=False)
    net.average("last", (5, 5), (1, 1), (2, 2, 2, 2), counted=False)
    return net


def compiled_for(
    network: Network, name: str, config: Config, folder: Path
) -> tuple[Compiled, Model]:
    """Return a program for a preset's build, or one like it with less act mem, and the model."""
    write_converted(network, folder / "network.onnx")
    compiled = compile_network(network, name, config, SOURCE)
    return on_build(compiled, load_config(name)), load(folder / "network.onnx")


def check_run(compiled: Compiled, network: Network, model: Model, config: Config) -> None:
    """Compare the RTL with both golden models, and its cycles with the cycle model's."""
    images = random_images(compiled, 2)
    run = run_network(compiled, images, memory=MEMORY, seed=3)
    wanted = model.run_int(images)
    np.testing.assert_array_equal(run.outputs, wanted)
    np.testing.assert_array_equal(run.outputs[0], golden(network, images[0]))
    assert len(np.unique(wanted)) > 20
    error = predict(compiled.program, config, MEMORY).cycles / run.cycles[0] - 1
    print(f"{run.cycles[0]} cycles, the cycle model is {error:+.2%} off")
    assert abs(error) <= LAYER_BOUND


@pytest.mark.parametrize("make", [small, averaging])
@pytest.mark.parametrize("name", ["tiny", "select"])
def test_bit_exact_and_as_fast_as_predicted(
    name: str, make: Callable[[Config], Builder], tmp_path: Path
) -> None:
    config = load_config(name)
    depth = config.ACT_DEPTH if make is small else 512 // config.ACT_BANKS
    network, less = make(config).network(), config.model_copy(update={"ACT_DEPTH": depth})
    compiled, model = compiled_for(network, name, less, tmp_path)
    layers = [layer for layer in compiled.manifest.layers if layer.kind == "avgpool"]
    assert (max(layer.stripes for layer in layers) > 1) == (make is averaging)
    assert max(layer.conv_map[1] * layer.conv_map[2] for layer in layers) > config.T_R
    check_run(compiled, network, model, config)


def test_the_parameters_of_other_windows_are_seen(tmp_path: Path) -> None:
    """Negative twin: every tile takes the first parameters that there are."""
    config = load_config("tiny")
    compiled, model = compiled_for(small(config).network(), "tiny", config, tmp_path)
    images = random_images(compiled, 1)
    program = edit_computes(compiled.program, lambda _: {"param_addr": 0})
    assert program != compiled.program
    wrong = run_network(replace(compiled, program=program), images, memory=MEMORY)
    assert (wrong.outputs != model.run_int(images)).mean() > 0.2
