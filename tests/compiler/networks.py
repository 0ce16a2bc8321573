# SPDX-License-Identifier: Apache-2.0
"""Random converted networks and builds for the compiler's tests."""

from dataclasses import dataclass, field

import numpy as np

from unzipfpga.config import Config
from unzipfpga.frontend import Layer, Network, Tensor
from unzipfpga.frontend.network import bias_type, integer_type, limit_of, prove_accumulator
from unzipfpga.frontend.quantise import choose_shift
from unzipfpga.ovsf import generate_channel, generate_kernel
from verif.refmodel.layers import window_pixels


def build(**changes: int) -> Config:
    """A small build with some parameters changed."""
    parameters = {
        **{"T_P": 8, "T_C": 8, "T_R": 16, "S": 1, "J": 2, "G": 1, "D": 9, "N_MAX": 16, "Q": 4},
        **{"CHANNEL_AXIS": 1, "PROJECTOR": 1},
        **{"DW": 8, "PAIR": 0, "OPERAND_W": 12, "ACT_DEPTH": 4096, "ACT_BANKS": 2},
        **{"ALPHA_DEPTH": 256, "PARAM_DEPTH": 8, "POOL_W": 32, "AXI_DATA_W": 64, "AXI_ADDR_W": 40},
        **{"BURST_LEN": 16, "OUTSTANDING": 4, "TRACE_DEPTH": 64},
    }
    parameters |= changes
    if parameters["OPERAND_W"] == parameters["DW"]:  # no projection fits
        parameters["PROJECTOR"] = 0
    return Config.model_validate(parameters)


@dataclass
class Builder:
    """Appends layers with random integers; `shape` is that of the last tensor."""

    shape: tuple[int, ...]
    seed: int = 0
    dw: int = 8
    layers: list[Layer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.limit, self.type = limit_of(self.dw), integer_type(self.dw)
        self.bias_type = bias_type(self.dw)
        self.tensors = {"image": Tensor("image", self.shape, float(np.float32(1 / self.limit)))}
        self.last = "image"

    def at(self, tensor: str) -> None:
        """Go back to a tensor: the next layer reads it."""
        self.last, self.shape = tensor, self.tensors[tensor].shape

    def add(self, name: str, shape: tuple[int, ...], scale: float, **known: object) -> None:
        known = {"lo": -self.limit, "hi": self.limit} | known | {"dw": self.dw}
        self.layers.append(Layer(name=name, input=self.last, output=f"{name}.out", **known))  # type: ignore[arg-type]
        self.last = f"{name}.out"
        self.shape = shape
        self.tensors[self.last] = Tensor(self.last, shape, scale)

    def _weighted(
        self,
        name: str,
        shape: tuple[int, ...],
        weights: np.ndarray,
        relu: bool,
        clip: bool,
        residual: str | None = None,
        like: str | None = None,
        **known: object,
    ) -> None:
        rng, limit = self.rng, self.limit
        pixels = max(1, int(known.get("pooled_pixels", 0)))  # type: ignore[call-overload]
        spread = limit * limit * (60 / 127) * np.sqrt(weights[0].size * pixels) / 2 + 1
        bias = rng.integers(-int(spread), int(spread) + 1, len(weights))
        weight_scale = rng.uniform(0.2, 1.0, len(weights)).astype(np.float32) / np.float32(limit)
        x_scale = self.tensors[self.last].scale
        y_scale = float(
            np.float32(spread * x_scale * float(weight_scale.max()) / pixels * 1.5 / limit)
        )
        if residual:  # its share is about that of the sums
            y_scale = max(y_scale, float(np.float32(self.tensors[residual].scale)))
        y_scale = self.tensors[like].scale if like else y_scale
        ratio = self.tensors[residual].scale / y_scale if residual else None
        ratios = x_scale * weight_scale.astype(np.float64) / pixels / y_scale
        m, s, m_r, t = choose_shift(name, ratios, ratio)
        ceiling = float(np.float32(60.2 / 127 * limit * y_scale)) if relu and clip else None
        self.add(
            name,
            shape,
            y_scale,
            weights=weights.astype(self.type),
            bias=bias.astype(self.bias_type),
            m=m,
            s=s,
            residual=residual,
            m_r=m_r,
            t=t,
            lo=0 if relu else -limit,
            hi=limit if ceiling is None else min(limit, round(ceiling / y_scale)),
            clip=ceiling,
            weight_scale=weight_scale,
            acc_bound=prove_accumulator(name, weights, bias, self.dw, pixels),
            **known,
        )

    def conv(
        self,
        name: str,
        filters: int,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        n: int = 0,
        relu: bool = True,
        clip: bool = False,
        groups: int = 1,
        residual: str | None = None,
        axis: str = "kernel",
        like: str | None = None,
    ) -> None:
        """A convolution; with n > 0 of n random codes (kernel axis: a square one).

        `residual` is added. The result has the scale of the tensor `like`, to be joined with it.
        """
        channels, height, width = self.shape
        out = (
            filters,
            (height + pads[0] + pads[2] - kernel[0]) // stride[0] + 1,
            (width + pads[1] + pads[3] - kernel[1]) // stride[1] + 1,
        )
        known: dict[str, object] = {"kernel": kernel, "stride": stride, "pads": pads}
        known["groups"] = groups
        channels //= groups
        if n and axis == "channel":
            codes, alphas = self._channel_codes(filters, channels, kernel[0] * kernel[1], n)
            weights = generate_channel(alphas, codes, kernel, channels)
            known |= {"axis": "channel", "codes": codes, "alphas": alphas}
        elif n:
            edge = 1 << (kernel[0] - 1).bit_length()
            codes = tuple(int(j) for j in self.rng.permutation(edge * edge)[:n])
            room = self.limit // n
            alphas = self.rng.integers(-room, room + 1, (filters, channels, n)).astype(self.type)
            weights = generate_kernel(alphas, codes, kernel[0])
            known |= {"axis": "kernel", "codes": codes, "alphas": alphas}
        else:
            weights = self.rng.integers(-self.limit, self.limit + 1, (filters, channels, *kernel))
        self._weighted(name, out, weights, relu, clip, residual, like, kind="conv", **known)

    def gemm(
        self,
        name: str,
        filters: int,
        relu: bool = False,
        global_pool: bool = False,
        residual: str | None = None,
        n: int = 0,
    ) -> None:
        """A fully connected layer, after a flatten or a global average pool if given a map.

        With n > 0 it has n channel-axis codes.
        """
        known: dict[str, object] = {}
        channels, *size = (*self.shape, 1, 1)[:3]
        if global_pool:
            known = {"pooled_pixels": self.shape[1] * self.shape[2]}
            size = [1, 1]
        elif len(self.shape) == 3:
            scale = self.tensors[self.last].scale
            self.add(f"{name}.flat", (int(np.prod(self.shape)),), scale, kind="flatten")
        weights = self.rng.integers(-self.limit, self.limit + 1, (filters, self.shape[0]))
        if n:
            codes, alphas = self._channel_codes(filters, channels, size[0] * size[1], n)
            weights = generate_channel(alphas, codes, (size[0], size[1]), channels)
            weights = weights.reshape(filters, -1)
            known |= {"axis": "channel", "codes": codes, "alphas": alphas}
        self._weighted(name, (filters,), weights, relu, False, residual, kind="gemm", **known)

    def average(
        self,
        name: str,
        kernel: tuple[int, int] = (0, 0),
        stride: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        counted: bool = True,
        residual: str | None = None,
    ) -> None:
        """An average pool; a global one if no kernel is given.

        If its padding is not `counted`, windows that hold different numbers of pixels divide by
        different numbers. `residual` is added.
        """
        channels, height, width = self.shape
        known: dict[str, object] = {"kind": "gap", "pooled_pixels": height * width}
        out, shape = (channels, 1, 1), (channels, 1)
        if kernel != (0, 0):
            known = {"kind": "avgpool", "kernel": kernel, "stride": stride, "pads": pads}
            shape = (channels, 1, *kernel)
            out = (
                channels,
                (height + pads[0] + pads[2] - kernel[0]) // stride[0] + 1,
                (width + pads[1] + pads[3] - kernel[1]) // stride[1] + 1,
            )
        count = height * width if kernel == (0, 0) else kernel[0] * kernel[1]
        divisors = np.array([count])
        if not counted:
            pixels = window_pixels((height, width), kernel, stride, pads)
            if pixels.min() != pixels.max() and pixels.min() > 0:
                divisors = np.unique(pixels)
                known["counts"] = tuple(divisors.tolist())
        x_scale = self.tensors[self.last].scale
        y_scale = float(np.float32(x_scale * self.rng.uniform(1, 3) / np.sqrt(count)))
        if residual:
            y_scale = max(y_scale, self.tensors[residual].scale)
        ratio = self.tensors[residual].scale / y_scale if residual else None
        weights = np.ones(shape, self.type)
        bias = np.zeros(channels, self.bias_type)
        ratios = np.repeat(x_scale / divisors[:, np.newaxis] / y_scale, channels, axis=1)
        m, s, m_r, t = choose_shift(name, ratios, ratio)
        m = m if len(m) > 1 else m[0]
        pixels = height * width if kernel == (0, 0) else 1
        bound = prove_accumulator(name, weights, bias, self.dw, pixels)
        known |= {"groups": channels, "weights": weights, "bias": bias, "m": m, "s": s}
        known |= {"residual": residual, "m_r": m_r, "t": t}
        scale = np.full(channels, np.float32(1 / count))
        self.add(name, out, y_scale, weight_scale=scale, acc_bound=bound, **known)

    def _channel_codes(
        self, filters: int, channels: int, taps: int, n: int
    ) -> tuple[tuple[int, ...], np.ndarray]:
        codes = tuple(int(j) for j in self.rng.permutation(16)[:n])
        room = self.limit // n
        size = (filters, -(-channels // 16), taps, n)
        return codes, self.rng.integers(-room, room + 1, size).astype(self.type)

    def pool(self, name: str, kernel: int, stride: int, pads: tuple[int, int, int, int]) -> None:
        channels, height, width = self.shape
        out = (
            channels,
            (height + pads[0] + pads[2] - kernel) // stride + 1,
            (width + pads[1] + pads[3] - kernel) // stride + 1,
        )
        scale = self.tensors[self.last].scale
        window = {"kernel": (kernel, kernel), "stride": (stride, stride), "pads": pads}
        self.add(name, out, scale, kind="maxpool", **window)

    def concat(self, name: str, *tensors: str) -> None:
        """Join tensors of one scale, in order."""
        shapes = [self.tensors[tensor].shape for tensor in tensors]
        (scale,) = {self.tensors[tensor].scale for tensor in tensors}
        self.last = tensors[0]
        shape = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        self.add(name, shape, scale, kind="concat", others=tensors[1:])

    def network(self) -> Network:
        source = {"file": "random.onnx", "sha256": "0" * 64}
        return Network("image", self.last, self.tensors, tuple(self.layers), source, {}, self.dw)
