# SPDX-License-Identifier: Apache-2.0
"""Networks whose tensors do not fit act mem, on the RTL: stripes of all kinds, bit exact.

They are compiled for a build with less act mem and run on the preset's, which serves all of them.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.blocks.test_network import random_memory
from tests.compiler.harness import random_images
from tests.compiler.test_stripes import SOURCE, Case, random_stripes, situations
from unzipfpga.bench.measure import prepare_network
from unzipfpga.bench.model import NETWORK_BOUND
from unzipfpga.bench.networks import Coding
from unzipfpga.compiler import Compiled, CompileError, compile_network
from unzipfpga.compiler.lower import lower
from unzipfpga.compiler.plan import plan
from unzipfpga.config import Config, load_config
from unzipfpga.model import predict
from unzipfpga.sim import Memory, run_network
from verif.env.engine_model import golden
from verif.seqs.engine_faults import patch_header

NETWORKS = 12
EXPECTED = {
    *("parts in DRAM", "pooled parts in DRAM", "whole: source in DRAM", "sums over pixels in DRAM"),
    *("pooled stripes 2/2p0", "pooled stripes 3/2p1", "one slot", "two slots", "residual in DRAM"),
}


def on_build(compiled: Compiled, config: Config) -> Compiled:
    """Return a program as one of another build, whose memories are larger."""
    program = patch_header(compiled.program, build_id=config.build_id())
    manifest = compiled.manifest.model_copy(update={"parameters": config.parameters()})
    return replace(compiled, program=program, manifest=manifest)


def draw(seed: int, config: Config) -> Case | None:
    """A random network and little act mem, or None if there is no such plan."""
    rng = np.random.default_rng(seed)
    network = random_stripes(rng, config.DW).network()
    lowered = lower(network, config)
    for depth in rng.uniform(0.05, 0.3) * config.ACT_DEPTH * 1.4 ** np.arange(10):
        less = config.model_copy(update={"ACT_DEPTH": min(int(depth), config.ACT_DEPTH)})
        try:
            planned = plan(lowered, less)
            compiled = compile_network(network, "tiny", less, SOURCE)
        except CompileError:  # too little still, or rows that are too long to be pooled
            continue
        return Case(network, config, planned, compiled) if planned.places.slots else None
    return None


def test_random_networks_in_little_act_mem() -> None:
    config, seen, run = load_config("tiny"), Counter[str](), 0
    for seed in range(200):
        case = draw(seed, config)
        if case is None or (run and set(situations(case)) & EXPECTED <= set(seen)):
            continue
        seen.update(set(situations(case)))
        run += 1
        memory = random_memory(seed)
        print(f"seed {seed}: {memory}, {case.plan.config.ACT_DEPTH} of {config.ACT_DEPTH} entries")
        images = random_images(case.compiled, 2, seed)
        result = run_network(on_build(case.compiled, config), images, memory=memory, seed=seed + 1)
        for image, output in zip(images, result.outputs, strict=True):
            np.testing.assert_array_equal(output, golden(case.network, image))
        if run == NETWORKS or set(seen) >= EXPECTED:
            break
    assert set(seen) >= EXPECTED, EXPECTED - set(seen)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [8192, 4096])
def test_squeezenet_in_a_part_of_its_act_mem(depth: int) -> None:
    """SqueezeNet 1.1 at 224x224: an eighth and a sixteenth of preset bench's act mem."""
    config = load_config("bench")
    less = config.model_copy(update={"ACT_DEPTH": depth})
    prepared = prepare_network("squeezenet1.1", Coding(4, 8), "bench", less)
    assert prepared.compiled.manifest.scratch_bytes
    compiled, memory = on_build(prepared.compiled, config), Memory(8, 100)
    result = run_network(compiled, prepared.images, memory=memory)
    error = predict(compiled.program, config, memory).cycles / result.cycles[0] - 1
    print(f"{result.cycles[0]} cycles, the cycle model is {error:+.2%} off")
    assert abs(error) <= NETWORK_BOUND
    assert len(np.unique(result.outputs)) > 50
    np.testing.assert_array_equal(result.outputs, prepared.golden)
