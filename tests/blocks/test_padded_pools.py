# SPDX-License-Identifier: Apache-2.0
"""Max pools that windows of padding belong to, on the RTL: bit exact, and as fast as predicted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.blocks.test_small_act_mem import on_build
from tests.blocks.test_windows import MEMORY, check_run
from tests.compiler.harness import random_images
from tests.compiler.networks import Builder
from tests.compiler.test_padded_pools import block
from tests.compiler.test_stripes import SOURCE
from unzipfpga.bench.model import NETWORK_BOUND
from unzipfpga.compiler import compile_model, compile_network
from unzipfpga.config import load_config
from unzipfpga.frontend import Options, convert, write_converted
from unzipfpga.model import predict
from unzipfpga.sim import Memory, run_network
from verif.refmodel.model import load
from verif.seqs.engine_faults import edit_computes


def inception(t_p: int, relu: bool, size: tuple[int, int] = (7, 6)) -> Builder:
    """Two Inception blocks, of channels that fill no word."""
    net = Builder((t_p + 3, *size), 7)
    block(net, relu)
    return net


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("name", ["tiny", "select"])
@pytest.mark.parametrize("striped", [False, True])
def test_bit_exact_and_as_fast_as_predicted(
    name: str, relu: bool, striped: bool, tmp_path: Path
) -> None:
    config = load_config(name)
    height, width = (24, 10) if striped else (7, 6)
    network = inception(config.T_P, relu, (height, width)).network()
    write_converted(network, tmp_path / "network.onnx")
    depth = min(config.ACT_DEPTH, 1360 // config.ACT_BANKS)
    less = config.model_copy(update={"ACT_DEPTH": depth})
    compiled = on_build(compile_network(network, name, less, SOURCE), config)
    pools = [layer for layer in compiled.manifest.layers if layer.kind == "maxpool"]
    assert [pool.conv_map[1:] for pool in pools] == [[height + 1, width + 1]] * 2
    assert (max(pool.stripes for pool in pools) > 1) == striped
    check_run(compiled, network, load(tmp_path / "network.onnx"), config)


def test_what_the_padding_holds_is_seen(tmp_path: Path) -> None:
    """Negative twin: the padding has the map's own parameters, and so is 0."""
    config = load_config("tiny")
    network = inception(config.T_P, False).network()
    write_converted(network, tmp_path / "network.onnx")
    compiled = compile_network(network, "tiny", config, SOURCE)
    first: dict[int, int] = {}

    def of_the_map(fields: dict[str, int]) -> dict[str, int]:
        if not fields["pool_kernel"] or not fields["reduce_last"]:
            return {}
        filters = fields["dst_base"]  # of a pooled map: where its channels begin
        return {"param_addr": first.setdefault(filters, fields["param_addr"])}

    program = edit_computes(compiled.program, of_the_map)
    assert program != compiled.program
    images = random_images(compiled, 1)
    wrong = run_network(replace(compiled, program=program), images, memory=MEMORY)
    assert (wrong.outputs != load(tmp_path / "network.onnx").run_int(images)).mean() > 0.01


def inception_v2(seed: int) -> onnx.ModelProto:
    """Inception v2 of the onnx package with random weights: there, all are one constant."""
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    model = onnx.load(light / "light_inception_v2.onnx")
    rng = np.random.default_rng(seed)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    shapes = {
        node.output[0]: tuple(numpy_helper.to_array(constants[node.input[0]]))
        for node in model.graph.node
        if node.op_type == "ConstantOfShape"
    }
    shapes |= {name: tuple(one.dims) for name, one in constants.items() if name.endswith("_0")}

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name.endswith(("var_0", "scale_0", "sc_w_0")):
            return rng.uniform(0.8, 1.2, shape)
        if len(shape) < 2:  # means and additions
            return rng.normal(scale=0.1, size=shape)
        return rng.normal(scale=(2 / np.prod(shape[1:])) ** 0.5, size=shape)

    drawn = [
        numpy_helper.from_array(values(name, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    kept = [node for node in model.graph.node if node.op_type != "ConstantOfShape"]
    others = [tensor for name, tensor in constants.items() if name not in shapes]
    model.ir_version = 8  # initializers need not be inputs
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend([*drawn, *others])
    return model


@pytest.mark.slow
def test_inception_v2(tmp_path: Path) -> None:
    """Whole, at 224x224, on preset bench."""
    onnx.save(inception_v2(1), tmp_path / "source.onnx")
    sample = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    network, _ = convert(tmp_path / "source.onnx", lambda _: sample, Options())
    write_converted(network, tmp_path / "network.onnx")
    compiled, memory = compile_model(tmp_path / "network.onnx", "bench"), Memory(16, 100)
    pads = [layer for layer in compiled.manifest.layers if layer.conv_map[1:] == [8, 8]]
    assert len(pads) == 1 and pads[0].kind == "maxpool"
    images = random_images(compiled, 1)
    run = run_network(compiled, images, memory=memory)
    wanted = load(tmp_path / "network.onnx").run_int(images)
    assert len(np.unique(wanted)) > 50
    np.testing.assert_array_equal(run.outputs, wanted)
    error = predict(compiled.program, load_config("bench"), memory).cycles / run.cycles[0] - 1
    print(f"{run.cycles[0]} cycles, the cycle model is {error:+.2%} off")
    assert abs(error) <= NETWORK_BOUND
