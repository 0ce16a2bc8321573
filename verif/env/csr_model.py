# SPDX-License-Identifier: Apache-2.0
"""Expected model of the control and status registers, built from ``regs/unzip.rdl``.

The map is elaborated by the SystemRDL compiler: offsets, fields, access, reset values come from
there. Only what hardware puts into a register is said here. It is exact to the cycle, but for the
handshakes: when a write takes effect is seen from its answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from scripts.generate import RDL_FILE, Register, read_registers
from verif.env.bits import pack

Inputs = Mapping[str, int]  # values of the ports on the core's side, by name without _i

COUNTERS = 9  # 64-bit counters, CYCLES to BYTES_WRITTEN in the order of the map
OKAY, SLVERR = 0, 2


def word_mask(strobes: int) -> int:
    """Return the bits of a word that byte strobes select."""
    return pack([0xFF if (strobes >> k) & 1 else 0 for k in range(4)], 8)


@dataclass(frozen=True)
class Write:
    """A write access.

    Attributes
    ----------
    address, data, strobes : int
        As on the bus.
    """

    address: int
    data: int
    strobes: int


@dataclass
class CsrModel:
    """State of the registers.

    Attributes
    ----------
    parameters : mapping of str to int
        RTL parameters of the build.
    values : dict of str to int
        Registers and bits that are kept: by name.
    pulses : set of str
        Bits of CTRL that were written 1 in the last cycle.
    """

    parameters: Mapping[str, int]
    values: dict[str, int] = field(default_factory=dict)
    pulses: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.by_address: dict[int, tuple[Register, str, int]] = {}
        for register in read_registers(RDL_FILE):
            for k in range(register.count):
                name = register.name + (str(k) if register.count > 1 else "")
                self.by_address[register.offset + k * register.stride] = (register, name, k)
        counters = [
            n for _, n, _ in self.by_address.values() if 0x100 <= self.address_of(n) < 0x180
        ]
        self.counter_names = sorted(counters, key=self.address_of)
        if len(self.counter_names) != 2 * COUNTERS:
            raise ValueError(f"{len(self.counter_names)} counter words, expected {2 * COUNTERS}")
        self.reset()

    def address_of(self, name: str) -> int:
        """Return the address of a register."""
        return next(a for a, (_, n, _) in self.by_address.items() if n == name)

    def reset(self) -> None:
        """Take the values of the map's resets."""
        self.pulses = set()
        self.values = {
            name: sum((f.reset or 0) << f.lsb for f in register.fields)
            for register, name, _ in self.by_address.values()
        }
        self.values["done"] = 0  # STATUS.DONE

    def response(self, address: int) -> int:
        """Return the response to an access."""
        return OKAY if address & ~3 in self.by_address else SLVERR

    def locked(self, name: str) -> bool:
        """Say whether a register cannot be written now."""
        return "_WINDOW_" in name and bool(self.values["WINDOW_LOCK"])

    def implemented(self, name: str) -> int:
        """Return the bits of a register that exist: addresses have AXI_ADDR_W bits."""
        if name.endswith("_HI") and ("_BASE_" in name or "_WINDOW_" in name):
            return (1 << (self.parameters["AXI_ADDR_W"] - 32)) - 1
        return (1 << 32) - 1

    def write(self, access: Write) -> None:
        """Apply a write."""
        if access.address & ~3 not in self.by_address:
            return
        register, name, _ = self.by_address[access.address & ~3]
        if self.locked(name):
            return
        mask = word_mask(access.strobes) & self.implemented(name)
        for f in register.fields:
            bits = ((1 << f.width) - 1) << f.lsb
            old, ones = self.values[name] & bits, access.data & mask & bits
            how = f.access.split(", ")
            if how == ["rw"]:
                new = (old & ~mask) | ones
            elif how == ["rw", "woclr"]:
                new = old & ~ones
            elif how == ["rw", "woset"]:
                new = old | ones
            elif how == ["w", "pulse"]:
                new = old
                if ones:
                    self.pulses.add(f.name)
            elif how == ["r"]:
                new = old
            else:
                raise ValueError(f"{name}.{f.name}: no model of access {f.access}")
            self.values[name] = (self.values[name] & ~bits) | new

    def step(self, inputs: Inputs, access: Write | None) -> None:
        """Pass one clock edge.

        Parameters
        ----------
        inputs : mapping of str to int
            Ports in the cycle before the edge.
        access : Write, optional
            The write that takes effect with it.
        """
        self.pulses = set()
        if access:
            self.write(access)
        # An event that comes together with its clearing is not lost.
        if inputs["done"]:
            self.values["IRQ_STATE"] |= 1
            self.values["done"] = 1
        elif inputs["busy"] or inputs["error"] or inputs["resetting"]:
            self.values["done"] = 0
        if inputs["failed"]:
            self.values["IRQ_STATE"] |= 2

    def read(self, address: int, inputs: Inputs) -> int:
        """Return what a read of an address gives."""
        if address & ~3 not in self.by_address:
            return 0
        register, name, index = self.by_address[address & ~3]
        if name == "STATUS":
            return self._fields(
                register,
                {
                    "BUSY": inputs["busy"],
                    "DONE": self.values["done"],
                    "ERROR": inputs["error"],
                    "RESETTING": inputs["resetting"],
                },
            )
        if name.startswith("CAP_"):
            memories = {
                "CAP_ACT": "ACT_DEPTH",
                "CAP_ALPHA": "ALPHA_DEPTH",
                "CAP_PARAM": "PARAM_DEPTH",
            }
            if name in memories:
                return self.parameters[memories[name]]
            return self._fields(register, self.parameters)
        if name == "BUILD_ID":
            return inputs["build_id"]
        if name == "ERROR_CODE":
            return self._fields(
                register, {"CODE": inputs["error_code"], "STAGE": inputs["error_stage"]}
            )
        if name in ("ERROR_ADDR_LO", "ERROR_ADDR_HI"):
            return (inputs["error_addr"] >> (32 * name.endswith("HI"))) & 0xFFFFFFFF
        if name in self.counter_names:
            return (inputs["counters"] >> (32 * self.counter_names.index(name))) & 0xFFFFFFFF
        if name == "TRACE_COUNT":
            return inputs["trace_count"]
        if name.startswith("TRACE_DATA"):
            return (inputs["trace_data"] >> (32 * index)) & 0xFFFFFFFF
        if name == "CTRL":
            return 0
        return self.values[name]

    @staticmethod
    def _fields(register: Register, values: Mapping[str, int]) -> int:
        return sum((values[f.name] & ((1 << f.width) - 1)) << f.lsb for f in register.fields)

    def outputs(self) -> dict[str, int]:
        """Return the expected values of the output ports, by name without _o."""
        width = self.parameters["AXI_ADDR_W"]

        def address(name: str) -> int:
            return self.values[f"{name}_LO"] | self.values[f"{name}_HI"] << 32

        names = [f"{n}_BASE" for n in ("PROGRAM", "WEIGHT", "INPUT", "OUTPUT", "SCRATCH")]
        return {
            "irq": int(self.values["IRQ_STATE"] & self.values["IRQ_ENABLE"] != 0),
            "start": int("START" in self.pulses),
            "soft_reset": int("SOFT_RESET" in self.pulses),
            "bases": pack([address(name) for name in names], width),
            "read_first": address("READ_WINDOW_FIRST"),
            "read_last": address("READ_WINDOW_LAST"),
            "write_first": address("WRITE_WINDOW_FIRST"),
            "write_last": address("WRITE_WINDOW_LAST"),
            "watchdog": self.values["WATCHDOG"],
            "trace_index": self.values["TRACE_INDEX"] % self.parameters["TRACE_DEPTH"],
        }
