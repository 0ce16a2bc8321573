# SPDX-License-Identifier: Apache-2.0
"""A functional model of the engine that runs 64-byte programs, in plain NumPy.

It knows the instruction set (``regs/isa.yaml``), the memories' mapping and the order of alpha words
as the RTL's headers state them, and shares no code with the compiler. The five stages run whole
instructions, in an order that `pace` picks among those that the tokens allow: a program that lacks
a token gives wrong results, or reads what was never written, under some pace. Memories start with
random contents.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

LOAD, WGEN, MAC, POST, STORE = range(5)
Fields = dict[str, int]
# Picks one of the stages that can go on.
Pace = Callable[[Sequence[int]], int]


class EngineError(Exception):
    """What the engine would report, or what must never happen in it."""


@cache
def isa() -> dict[str, Any]:
    path = Path(__file__).parents[2] / "regs" / "isa.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def fields_of(layout: list[dict[str, Any]], data: bytes) -> Fields:
    word = int.from_bytes(data, "little")
    values = {}
    for field in layout:
        value = word >> field["lsb"] & ((1 << field["width"]) - 1)
        if field.get("signed") and value >> (field["width"] - 1):
            value -= 1 << field["width"]
        values[field["name"]] = value
    return values


def build_id(parameters: dict[str, int]) -> int:
    names = "T_P T_C T_R S J G D Q DW ACT_DEPTH ACT_BANKS ALPHA_DEPTH PARAM_DEPTH POOL_W N_MAX"
    names += " CHANNEL_AXIS PROJECTOR"
    value = 0x811C9DC5
    for word in [isa()["version"], *(parameters[name] for name in names.split())]:
        value = (value ^ word) * 0x01000193 & 0xFFFFFFFF
    return value


class Engine:
    """One engine with its memories; `run` runs one program."""

    def __init__(self, parameters: dict[str, int], seed: int = 0) -> None:
        p = self.p = parameters
        rng = np.random.default_rng(seed)
        self.act = rng.integers(-128, 128, (p["ACT_BANKS"], p["ACT_DEPTH"], p["T_P"]))
        self.alpha = rng.integers(-128, 128, (p["ALPHA_DEPTH"], p["G"] * p["T_P"]))
        self.param = rng.integers(0, 2**63, (p["PARAM_DEPTH"], p["Q"]), np.int64)
        self.tokens = [0] * isa()["tokens"]
        self.marks: list[tuple[int, int]] = []

    # Program ---------------------------------------------------------------------------------

    def run(
        self,
        program: bytes,
        weights: bytes,
        image: bytes,
        output_bytes: int,
        pace: Pace,
        scratch_bytes: int = 0,
    ) -> bytes:
        """Run a program and return what lies behind OUTPUT_BASE afterwards."""
        header = fields_of(isa()["header"], program[:64])
        if header["magic"] != isa()["magic"] or header["version"] != isa()["version"]:
            raise EngineError("HEADER")
        if header["build_id"] != build_id(self.p):
            raise EngineError("BUILD")
        bases = isa()["bases"]
        self.output = bytearray(b"\xa5" * output_bytes)
        scratch = bytearray(np.random.default_rng(len(program)).bytes(scratch_bytes))
        self.readable = {bases["WEIGHT"]: weights, bases["INPUT"]: image, bases["SCRATCH"]: scratch}
        self.writable = {bases["OUTPUT"]: self.output, bases["SCRATCH"]: scratch}
        opcodes = {code: name for name, code in isa()["opcodes"].items()}
        queues = []
        for queue in ("load", "compute", "store"):
            instructions = []
            for index in range(header[f"{queue}_count"]):
                start = header[f"{queue}_offset"] + 64 * index
                data = program[start : start + 64]
                if data[0] not in opcodes:
                    raise EngineError(f"OPCODE {data[0]}")
                name = opcodes[data[0]]
                instructions.append((name, fields_of(isa()["fields"][name], data)))
            queues.append(instructions)
        items: list[list[tuple[str, Fields]]] = [[] for _ in range(5)]
        items[LOAD], items[STORE] = queues[0], queues[2]
        for name, f in queues[1]:
            if name == "COMPUTE":
                items[WGEN].append((name, f))
                items[MAC].append((name, f))
                if f["reduce_last"]:
                    items[POST].append((name, f))
            elif name == "CODES":
                if not f["stages"] or f["stages"] & ~(1 << WGEN | 1 << MAC):
                    raise EngineError(f"CODES for the stages {f['stages']:#x}")
                for stage in (WGEN, MAC):
                    if f["stages"] >> stage & 1:
                        items[stage].append((name, f))
            elif name == "RESIDUAL":
                items[POST].append((name, f))
            elif name == "MARK":
                for stage in (WGEN, MAC, POST):
                    if f["stages"] >> stage & 1:
                        items[stage].append((name, f))
            else:
                raise EngineError(f"OPCODE {name} in the compute queue")
        # Code lists of the generator and of the MAC stage, which has one page.
        rng = np.random.default_rng(len(program))
        self.codes = {WGEN: [0] * 64, MAC: rng.integers(0, 64, 16).tolist()}
        self.weights: deque[np.ndarray] = deque()  # of tiles that wait for MAC
        self.sums: deque[np.ndarray] = deque()  # of tiles that wait for post
        self.open: np.ndarray | None = None  # sums that go on
        self.pool: dict[str, Any] = {}
        done = [0] * 5
        while True:
            ready = [
                s for s in range(5) if done[s] < len(items[s]) and self.ready(s, *items[s][done[s]])
            ]
            if not ready:
                break
            stage = pace(ready)
            name, f = items[stage][done[stage]]
            self.step(stage, name, f)
            done[stage] += 1
        if any(done[s] < len(items[s]) for s in range(5)):
            raise EngineError(f"deadlock at {done}")
        if any(self.tokens):
            raise EngineError(f"tokens left: {self.tokens}")
        return bytes(self.output)

    def masks(self, stage: int, name: str, f: Fields) -> tuple[int, int]:
        if name not in ("LOAD", "STORE", "COMPUTE"):
            return 0, 0
        prefix = {WGEN: "wgen_", MAC: "mac_", POST: "post_"}.get(stage, "")
        return f[f"{prefix}wait"], f[f"{prefix}signal"]

    def ready(self, stage: int, name: str, f: Fields) -> bool:
        wait, _ = self.masks(stage, name, f)
        if any(wait >> t & 1 and not self.tokens[t] for t in range(len(self.tokens))):
            return False
        if name != "COMPUTE":
            return True
        if stage == WGEN:
            return len(self.weights) < 3
        if stage == MAC:
            return bool(self.weights) and (len(self.sums) < 2 or not f["reduce_first"])
        return bool(self.sums)

    def step(self, stage: int, name: str, f: Fields) -> None:
        wait, signal = self.masks(stage, name, f)
        for t in range(len(self.tokens)):
            self.tokens[t] -= wait >> t & 1
        if name == "LOAD":
            self.load(f)
        elif name == "STORE":
            self.store(f)
        elif name == "CODES":
            if stage == MAC and f["page"]:
                raise EngineError("the MAC stage has one page of codes")
            for i in range(16):
                self.codes[stage][16 * f["page"] + i] = f["list"] >> 6 * i & 63
        elif name == "RESIDUAL":
            self.residual = f
        elif name == "MARK":
            self.marks.append((stage, f["id"]))
        else:
            {WGEN: self.wgen, MAC: self.mac, POST: self.post}[stage](f)
        for t in range(len(self.tokens)):
            self.tokens[t] += signal >> t & 1
            if self.tokens[t] > 15:
                raise EngineError("TOKEN")

    # Load and store --------------------------------------------------------------------------

    def place(self, base: Any, bank: Any, x: Any, shift: int) -> tuple[Any, Any]:
        """Return (bank, entry) of column x; `base` is the entry of column 0, `bank` its bank."""
        banks = self.p["ACT_BANKS"]
        entry = base + ((x >> shift) // banks << shift) + (x & ((1 << shift) - 1))
        entry = np.asarray(entry) & 0xFFFF
        if entry.size and entry.max() >= self.p["ACT_DEPTH"]:
            raise EngineError(f"act mem entry {entry.max()}")
        return (bank + (x >> shift)) % banks, entry

    def view(self, f: Fields, prefix: str) -> tuple[Any, Any]:
        index = np.arange(f["words"])
        block, rest = np.divmod(index, f["width"] * f["rows"])
        y, x = np.divmod(rest, f["width"])
        base = f[f"{prefix}_base"] + block * f[f"{prefix}_block"] + y * f[f"{prefix}_row"]
        return self.place(base, f[f"{prefix}_bank"] + block, x, f[f"{prefix}_shift"])

    def load(self, f: Fields) -> None:
        p, memories = self.p, isa()["memories"]
        dtype = np.dtype(f"<i{p['DW'] // 8}")
        lanes = {memories["ACT"]: p["T_P"], memories["ALPHA"]: p["G"] * p["T_P"]}
        if f["memory"] == memories["PARAM"]:
            dtype, width = np.dtype("<i8"), p["Q"]
        else:
            width = lanes[f["memory"]]
        if f["base"] not in self.readable:
            raise EngineError("READ_WINDOW")
        source = self.readable[f["base"]]
        data = b"".join(
            source[start:end] for start, end in self.runs(f, width * dtype.itemsize, len(source))
        )
        words = np.frombuffer(data, dtype).reshape(-1, width)
        if f["memory"] == memories["ACT"]:
            self.act[self.view(f, "dst")] = words
            return
        memory = self.alpha if f["memory"] == memories["ALPHA"] else self.param
        if f["dst_base"] + f["words"] > len(memory):
            raise EngineError(f"load of {f['words']} words to {f['dst_base']}")
        memory[f["dst_base"] : f["dst_base"] + f["words"]] = words

    def store(self, f: Fields) -> None:
        if f["base"] not in self.writable:
            raise EngineError("WRITE_WINDOW")
        target = self.writable[f["base"]]
        data = self.act[self.view(f, "src")].astype(f"<i{self.p['DW'] // 8}").tobytes()
        at = 0
        for start, end in self.runs(f, len(data) // f["words"], len(target)):
            target[start:end] = data[at : at + end - start]
            at += end - start

    @staticmethod
    def runs(f: Fields, word_bytes: int, limit: int) -> list[tuple[int, int]]:
        """Return where each run of a LOAD or STORE begins and ends in its DRAM region."""
        if f["run"] == 0 or f["words"] % f["run"]:
            raise EngineError(f"{f['words']} words in runs of {f['run']}")
        starts = [f["offset"] + k * f["pitch"] for k in range(f["words"] // f["run"])]
        ranges = [(start, start + f["run"] * word_bytes) for start in starts]
        if any(start % 64 or end > limit for start, end in ranges):
            raise EngineError(f"WINDOW: {ranges} of {limit}")
        return ranges

    # Weights generator -----------------------------------------------------------------------

    def wgen(self, f: Fields) -> None:
        """Generate the weights of a tile, [blocks, taps, filters, T_P]."""
        if f["project"]:
            f = self.alphas_as_weights(f)
        g, t_p, bits = self.p["G"], self.p["T_P"], self.p["DW"]
        kernel_h, kernel_w = f["kernel_h"], f["kernel_w"]
        taps, groups = kernel_h * kernel_w, -(-f["filters"] // g)
        if f["chunk_blocks"] * f["chunk_taps"] > self.p["D"]:
            raise EngineError("a chunk is longer than the register file")
        if f["chunk_taps"] < taps and f["chunk_blocks"] != 1:
            raise EngineError("a chunk of part of the taps has several blocks")
        edge = 1
        while edge < max(kernel_h, kernel_w):
            edge *= 2
        weights = np.zeros((f["blocks"], taps, groups * g, t_p), np.int64)
        address = f["alpha_addr"]
        self.set_word, self.set_lane = address, 0  # where the next channel-axis set begins
        for block in range(f["blocks"]):
            first = address
            for tap in range(0, taps, f["chunk_taps"]):
                piece = range(tap, min(tap + f["chunk_taps"], taps))
                if not f["dense"]:
                    address = first
                for group in range(groups):
                    lanes = slice(group * g, group * g + g)
                    if f["channel"]:
                        for t in piece:
                            weights[block, t, lanes] = self.channel_word(f, block)
                        continue
                    count = len(piece) if f["dense"] else f["codes"]
                    words = self.alpha[address : address + count].reshape(-1, g, t_p)
                    if len(words) != count:
                        raise EngineError("alpha mem is read past its end")
                    address += count
                    if f["dense"]:
                        weights[block, piece.start : piece.stop, lanes] = words
                        continue
                    for t in piece:
                        position = edge * (t // kernel_w) + t % kernel_w
                        signs = [
                            1 - 2 * ((j & position).bit_count() % 2)
                            for j in self.codes[WGEN][: f["codes"]]
                        ]
                        weights[block, t, lanes] = np.tensordot(signs, words, 1)
        if f["channel"]:
            address = self.set_word + 1
        if (f["dense"] or f["channel"]) and address != f["alpha_addr"] + f["alpha_words"]:
            raise EngineError(f"alpha_words {f['alpha_words']}, {address - f['alpha_addr']} used")
        # Sums are taken modulo 2^DW.
        half = 1 << (bits - 1)
        self.weights.append((weights[:, :, : f["filters"]] + half) % (2 * half) - half)

    def alphas_as_weights(self, f: Fields) -> Fields:
        """Return the dense COMPUTE that the generator makes of one in the code domain."""
        n, p = f["codes"], self.p
        if not p["PROJECTOR"] or f["dense"]:
            raise EngineError("DOMAIN")
        if f["channel"]:
            if n not in (1, 2, 4, 8):
                raise EngineError("DOMAIN")
            return f | {"dense": 1, "channel": 0, "blocks": -(-f["blocks"] * n // 16)}
        wide = f["kernel_h"] != 3 or f["kernel_w"] != f["stride_w"] or f["stride_w"] > 2
        if wide or not 1 <= n <= min(8, p["D"]) or f["row0"]:
            raise EngineError("DOMAIN")
        if f["chunk_blocks"] != 1 or f["chunk_taps"] < max(n, 3 * f["stride_w"]):
            raise EngineError("a chunk of the code domain is no channel block")
        return f | {"dense": 1, "kernel_h": 1, "kernel_w": n, "chunk_taps": n}

    def channel_word(self, f: Fields, block: int) -> np.ndarray:
        """Generate the next weight word [G, T_P] from the next set of channel-axis alphas."""
        g, t_p, j = self.p["G"], self.p["T_P"], self.p["J"]
        lanes = min(t_p, 16)
        size = -(-f["codes"] // j) * j
        if self.set_lane and self.set_lane + size > lanes:
            self.set_word, self.set_lane = self.set_word + 1, 0
        alphas = []
        for _ in range(size):
            if self.set_lane == lanes:
                self.set_word, self.set_lane = self.set_word + 1, 0
            if self.set_word >= len(self.alpha):
                raise EngineError("alpha mem is read past its end")
            # [G, T_P/lanes]: a value for each filter and 16 channels
            alphas.append(self.alpha[self.set_word].reshape(g, -1, lanes)[:, :, self.set_lane])
            self.set_lane += 1
        word = np.zeros((g, t_p), np.int64)
        for lane in range(t_p):
            channel = (block * t_p + lane) % 16
            for code, alpha in zip(self.codes[WGEN][: f["codes"]], alphas, strict=False):
                word[:, lane] += alpha[:, lane // lanes] * (-1) ** (code & channel).bit_count()
        return word

    # MAC ---------------------------------------------------------------------------------------

    def windows(self, f: Fields, kernel_w: int, pad_left: int) -> np.ndarray:
        """Read the windows of a tile, [pixels, blocks, taps, T_P]."""
        pixel = f["out_x"] + np.arange(f["pixels"])
        row, column = np.divmod(pixel, f["out_w"])
        taps = f["kernel_h"] * kernel_w
        operands = np.zeros((f["pixels"], f["blocks"], taps, self.p["T_P"]), np.int64)
        for tap in range(taps):
            ky, kx = divmod(tap, kernel_w)
            y = (f["out_y"] + row) * f["stride_h"] - f["pad_top"] + ky
            x = column * f["stride_w"] - pad_left + kx
            read = (y >= 0) & (y < f["in_h"]) & (x >= 0) & (x < f["in_w"])
            base = f["src_base"] + row[read] * f["stride_h"] * f["src_row"] + ky * f["src_row"]
            for block in range(f["blocks"]):
                where = self.place(
                    base + block * f["src_block"], f["src_bank"] + block, x[read], f["src_shift"]
                )
                operands[read, block, tap] = self.act[where]
        return operands

    def projections(self, f: Fields) -> np.ndarray:
        """Project a tile's windows on the codes, [pixels, (super-)blocks, codes or taps, T_P]."""
        codes, t_p, s = self.codes[MAC][: f["codes"]], self.p["T_P"], self.p["S"]
        if f["groups"] > 2:
            raise EngineError(f"DOMAIN: {f['groups']} groups of PEs")
        if f["channel"]:
            read = self.windows(f, f["kernel_w"], f["pad_left"])
            pixels, blocks, taps, _ = read.shape
            together = 16 // f["codes"]
            steps = -(-blocks // together)
            padded = np.zeros((pixels, steps * together, taps, t_p), np.int64)
            padded[:, :blocks] = read
            # Blocks of 16 channels, whatever T_P is.
            ordered = padded.transpose(0, 2, 1, 3).reshape(pixels, taps, -1, 16)
            signs = [[(-1) ** (j & c).bit_count() for c in range(16)] for j in codes]
            sums = ordered @ np.array(signs).T  # [pixels, taps, blocks of 16, n]
            return sums.reshape(pixels, taps, steps, t_p).transpose(0, 2, 1, 3)
        self.check_rows(f)
        before = max(2, s * f["stride_w"])  # columns that a line begins with
        windows = self.windows(f, 3, f["pad_left"] - (before - 3 + f["stride_w"]))
        signs = [
            [(-1) ** (j & (4 * (t // 3) + t % 3)).bit_count() for t in range(9)] for j in codes
        ]
        return np.einsum("jt,pbtl->pbjl", np.array(signs), windows)

    def check_rows(self, f: Fields) -> None:
        """Check groups of PEs and the count of rows of a tile with projected windows."""
        g, s, width = f["groups"], self.p["S"], f["out_w"]
        if width % g or f["out_x"] % g:
            raise EngineError(f"rows of {g} pixels cross the ends of lines")
        if f["pixels"] % g and f["reduce_last"]:
            last = f["out_y"] * width + f["out_x"] + f["pixels"] == f["out_h"] * width
            if not last:
                raise EngineError("a row of pixels crosses the end of a tile")
        rows, at, left = 0, f["out_x"], f["pixels"]
        while left:
            pixels = min(left, width - at)
            rows += -(-pixels // s) + (2 if s == 1 and f["stride_w"] == 1 else 1)
            at, left = 0, left - pixels
        if rows != f["read_rows"]:
            raise EngineError(f"read_rows is {f['read_rows']}, not {rows}")

    def mac(self, f: Fields) -> None:
        weights = self.weights.popleft()
        groups = f["groups"]
        if not 1 <= groups <= min(1 if f["row0"] else self.p["S"], f["out_w"]):
            raise EngineError(f"{groups} groups of PEs")
        if -(-f["pixels"] // groups) > self.p["T_R"] and not f["row0"]:
            raise EngineError("more pixels than accumulator rows")
        unit = max(2, self.p["G"])
        if f["filters"] > self.p["T_C"] // groups // unit * unit:
            raise EngineError("more filters than PEs")
        operands = (
            self.projections(f) if f["project"] else self.windows(f, f["kernel_w"], f["pad_left"])
        )
        flat = weights.transpose(0, 1, 3, 2).reshape(-1, f["filters"])
        # Exact: below 2^53 by far.
        sums = operands.reshape(f["pixels"], -1).astype(np.float64) @ flat.astype(np.float64)
        total = sums.astype(np.int64)
        if f["row0"]:
            total = total.sum(axis=0, keepdims=True)
        if not f["reduce_first"]:
            assert self.open is not None
            total += self.open
        bound = 1 << (31 if self.p["DW"] == 8 else 47)
        if total.size and (total.max() >= bound or total.min() < -bound):
            raise EngineError("an accumulator overflows")
        self.open = None if f["reduce_last"] else total
        if f["reduce_last"]:
            self.sums.append(total)

    # Post --------------------------------------------------------------------------------------

    def post(self, f: Fields) -> None:
        sums = self.sums.popleft()
        q, acc_bits = self.p["Q"], 32 if self.p["DW"] == 8 else 48
        filters, groups = f["post_filters"], f["dst_groups"]
        pixels = 1 if f["row0"] else f["pixels"]
        used = -(-filters // q)
        params = self.param[f["param_addr"] : f["param_addr"] + used].reshape(-1)[:filters]
        bias = params << (64 - acc_bits) >> (64 - acc_bits)
        m = params << (48 - acc_bits) >> 48
        shift = f["scale_shift"]
        scaled = (sums + bias) * m + ((1 << shift) >> 1)
        if f["residual"]:
            scaled = scaled + self.added(f, len(sums))[:, :filters]
        result = np.clip(scaled >> shift, f["clamp_lo"], f["clamp_hi"])
        values = np.zeros((pixels, groups * q), np.int64)
        values[:, :filters] = result
        first = f["out_y"] * f["out_w"] + f["out_x"]
        if f["pool_kernel"] == 0:
            row, x = np.divmod(f["out_x"] + np.arange(pixels), f["out_w"])
            self.write(f, f["dst_base"] + row * f["dst_row"], x, values)
            return
        self.pooled(f, first, values)

    def added(self, f: Fields, pixels: int) -> np.ndarray:
        """Return the residual term, [pixels, channels from the tile's first filter on]."""
        r, q, t_p = self.residual, self.p["Q"], self.p["T_P"]
        if q >= t_p and f["dst_lane"]:
            raise EngineError("a group of whole words begins within a word")
        term = np.zeros((pixels, -(-(f["dst_lane"] + f["dst_groups"]) * q // t_p), t_p), np.int64)
        for pixel, word in np.ndindex(term.shape[:2]):
            row, x = divmod(f["out_x"] + pixel, f["out_w"])
            number = f["res_block_first"] + word
            if f["out_y"] + row >= r["res_h"] or x >= r["res_w"] or number >= r["res_blocks"]:
                continue
            entry = f["res_base"] + row * r["res_row"] + word * r["res_block"]
            where = self.place(np.array(entry), number, np.array(x), r["res_shift"])
            term[pixel, word] = self.act[where]
        term *= r["res_scale"] << r["res_lift"]
        return term.reshape(pixels, -1)[:, f["dst_lane"] * q :]

    def pooled(self, f: Fields, first: int, values: np.ndarray) -> None:
        if f["out_w"] * f["dst_groups"] > self.p["POOL_W"] * (self.p["T_C"] // self.p["Q"]):
            raise EngineError("a row is longer than the line buffer")
        size = f["out_h"] * f["out_w"]
        if first == 0:
            self.pool = {
                "map": np.full((size, values.shape[1]), -(1 << 15)),
                "at": 0,
                "count": 0,
                "base": f["dst_base"],
            }
        if self.pool["at"] != first:
            raise EngineError("a pooled map does not come in raster order")
        self.pool["map"][first : first + len(values)] = values
        self.pool["at"] = first + len(values)
        grid = self.pool["map"].reshape(f["out_h"], f["out_w"], -1)
        kernel, stride, pad = f["pool_kernel"], f["pool_stride"], f["pool_pad"]
        for py in range(f["pool_h"]):
            for px in range(f["pool_w"]):
                y0, x0 = py * stride - pad, px * stride - pad
                y1, x1 = min(y0 + kernel, f["out_h"]), min(x0 + kernel, f["out_w"])
                end = (y1 - 1) * f["out_w"] + x1 - 1
                if not first <= end < first + len(values):
                    continue
                row, x = divmod(self.pool["count"], f["pool_w"])
                if (row, x) != (py, px):
                    raise EngineError("pooled windows do not end in raster order")
                window = grid[max(y0, 0) : y1, max(x0, 0) : x1].max(axis=(0, 1))
                base = np.array([self.pool["base"] + row * f["dst_row"]])
                self.write(f, base, np.array([x]), window[np.newaxis])
                self.pool["count"] += 1

    def write(self, f: Fields, base: np.ndarray, x: np.ndarray, values: np.ndarray) -> None:
        """Write groups of Q channels of pixels; `base` is the entry of each pixel's column 0."""
        q, t_p = self.p["Q"], self.p["T_P"]
        if q > t_p:  # whole words, those with filters only
            if f["dst_lane"] or -(-f["post_filters"] // q) != f["dst_groups"]:
                raise EngineError("groups of whole words that begin or end at a wrong place")
            for block in range(-(-f["post_filters"] // t_p)):
                where = self.place(
                    base + block * f["dst_block"], f["dst_bank"] + block, x, f["dst_shift"]
                )
                self.act[where] = values[:, block * t_p : block * t_p + t_p]
            return
        parts = t_p // q
        for group in range(f["dst_groups"]):
            block, part = divmod(f["dst_lane"] + group, parts)
            where = self.place(
                base + block * f["dst_block"], f["dst_bank"] + block, x, f["dst_shift"]
            )
            lanes = np.arange(part * q, part * q + q)
            self.act[where[0][:, None], where[1][:, None], lanes] = values[
                :, group * q : group * q + q
            ]


def eager(ready: Sequence[int]) -> int:
    """Loads first: the load queue runs as far ahead as it can."""
    return min(ready)


def lazy(ready: Sequence[int]) -> int:
    """Loads last: every stage waits for the load queue."""
    return max(ready)


def shuffled(seed: int) -> Pace:
    """Return a pace that picks at random."""
    rng = np.random.default_rng(seed)
    return lambda ready: int(rng.choice(ready))
