# SPDX-License-Identifier: Apache-2.0
"""Tensors that do not fit act mem: random networks in stripes, against the golden model."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count

import numpy as np

from tests.compiler.networks import Builder, build
from unzipfpga.compiler import Compiled, CompileError, compile_network
from unzipfpga.compiler.lower import lower
from unzipfpga.compiler.manifest import FileInfo
from unzipfpga.compiler.plan import Plan, plan
from unzipfpga.config import Config
from unzipfpga.frontend import Network

SOURCE = FileInfo(file="random.onnx", sha256="0" * 64, bytes=0)
SAME = (1, 1, 1, 1)
CASES = 60


@dataclass
class Case:
    network: Network
    config: Config
    plan: Plan
    compiled: Compiled


def random_build(rng: np.random.Generator) -> Config:
    """A build with little alpha mem and param mem."""
    s, t_p = int(rng.choice([1, 2, 4])), int(rng.choice([8, 16, 32]))
    q, dw = int(rng.choice([q for q in (2, 4, 8) if t_p % q == 0])), int(rng.choice([8, 8, 16]))
    t_c, g = int(rng.choice([8, 16, 24])), int(rng.choice([1, 2]))
    return build(
        **{"T_P": t_p, "T_C": t_c, "Q": q, "S": s, "G": g, "T_R": int(rng.integers(3, 30))},
        **{"ACT_BANKS": int(rng.choice([b for b in (2, 4, 8) if b >= 2 * s])), "DW": dw},
        **{"D": int(rng.integers(4, 20)), "OPERAND_W": dw + 4, "ACT_DEPTH": 65536, "POOL_W": 128},
        **{"ALPHA_DEPTH": 49 * -(-q // g) * int(rng.choice([1, 2, 4, 16]))},
        **{"PARAM_DEPTH": int(rng.choice([1, 2, 4])) * max(2, t_c // q)},
    )


def random_stripes(rng: np.random.Generator, dw: int) -> Builder:
    """Convolutions one after the other, residual blocks, pools; odd widths."""
    shape = (int(rng.integers(1, 30)), int(rng.integers(8, 24)), int(rng.integers(3, 20)))
    net = Builder(shape, int(rng.integers(2**31)), dw)

    def conv(name: str, filters: int, kernel: int, stride: int = 1, **known: object) -> None:
        kernel = min(kernel, net.shape[2])
        pad = (kernel - 1) // 2
        pads = (pad, pad, kernel // 2, kernel // 2)
        n = int(rng.choice([0, 0, min(4, kernel * kernel)])) if kernel > 1 else 0
        net.conv(name, filters, (kernel, kernel), (stride, stride), pads, n=n, **known)  # type: ignore[arg-type]

    for index in range(int(rng.integers(1, 4))):
        filters = int(rng.choice([net.shape[0], *rng.integers(1, 40, 2)]))
        kernel = int(rng.choice([1, 2, 3, 3, 5, 7]))
        kind = int(rng.integers(5))
        if kind == 0 or min(net.shape[1:]) < 4:
            conv(f"conv{index}", filters, kernel)
        elif kind == 1:
            conv(f"conv{index}", filters, kernel, int(rng.integers(2, 4)))
        elif kind == 2:
            conv(f"conv{index}", filters, kernel)
            net.pool(f"pool{index}", 2, 2, (0, 0, 0, 0))
        else:  # a block; the shortcut may be smaller than what it is added to
            shortcut = net.last
            if kind == 3 and rng.integers(2):
                conv(f"short{index}", int(rng.integers(1, filters + 1)), 1, int(rng.integers(1, 3)))
                shortcut = net.last
                net.at(net.layers[-1].input)
            conv(f"a{index}", filters, kernel)
            filters = max(filters, net.tensors[shortcut].shape[0])
            if rng.integers(2):  # a sum of just the shape
                filters = net.tensors[shortcut].shape[0]
            relu = bool(rng.integers(2))
            conv(f"b{index}", filters, 3, residual=shortcut, relu=relu)
    ending = int(rng.integers(5))
    if ending == 0:
        net.gemm("fc", int(rng.integers(1, 20)), global_pool=True)
    elif ending == 1 and max(net.shape[1:]) <= 7:
        net.gemm("fc", int(rng.integers(1, 20)))
    return net


def draw(seed: int) -> Case | None:
    """A network and a build with less act mem than its tensors need; None if there is none."""
    rng = np.random.default_rng(seed)
    config = random_build(rng)
    network = random_stripes(rng, config.DW).network()
    lowered = lower(network, config)
    needed = plan(lowered, config).act_entries
    for share in rng.uniform(0.1, 0.4) * 1.3 ** np.arange(8):
        depth = max(2, int(needed * share))
        config = config.model_copy(update={"ACT_DEPTH": depth})
        try:
            planned = plan(lowered, config)
        except CompileError:
            continue
        if not planned.places.slots:
            return None
        compiled = compile_network(network, "random", config, SOURCE)
        return Case(network, config, planned, compiled)
    return None


@cache
def case(seed: int) -> Case | None:
    return draw(seed)


def cases(number: int) -> Iterator[tuple[int, Case]]:
    found = 0
    for seed in count():
        drawn = case(seed)
        if drawn is not None:
            yield seed, drawn
            found += 1
            if found == number:
                return
