# SPDX-License-Identifier: Apache-2.0
"""Planning: how each layer is cut into tiles and chunks, and where each tensor lies."""

from dataclasses import dataclass
from functools import cached_property

from unzipfpga.compiler.domain import DomainChoice
from unzipfpga.compiler.errors import CompileError
from unzipfpga.compiler.fold import folded
from unzipfpga.compiler.lower import EngineLayer, LoweredNetwork
from unzipfpga.compiler.place import Places, View, lifetimes_of, map_bytes, place
from unzipfpga.compiler.tiling import Stripe, Tiling, tile_layer, tiling_cost
from unzipfpga.config import Config


@dataclass(frozen=True)
class Plan:
    """The plan of a whole network.

    Attributes
    ----------
    network : LoweredNetwork
    config : Config
    tilings : tuple of Tiling
        One for each layer.
    places : Places
        Where tensors lie.
    lifetimes : dict of str to (first, last)
        Layer numbers between which a tensor is in use; the input's begins at -1.
    """

    network: LoweredNetwork
    config: Config
    tilings: tuple[Tiling, ...]
    places: Places
    lifetimes: dict[str, tuple[int, int]]

    @property
    def views(self) -> dict[str, View]:
        """Places of the tensors that stay in act mem."""
        return self.places.views

    @property
    def image_bytes(self) -> int:
        """Bytes of the stored image in DRAM."""
        return map_bytes(self.network.maps[self.network.input], self.config)

    @cached_property
    def extents(self) -> dict[str, tuple[int, int]]:
        """Entries of each buffer of act mem, the end excluded."""
        slots = [view for slots in self.places.slots.values() for view in slots.views]
        found: dict[str, tuple[int, int]] = {}
        for view in [*self.views.values(), *slots]:
            low, high = found.get(view.buffer, (view.base, 0))
            found[view.buffer] = min(low, view.base), max(high, view.base + view.entries)
        return found

    @property
    def act_entries(self) -> int:
        """Entries of each act mem bank in use at the fullest moment."""
        return max(end for _, end in self.extents.values())


def plan(
    network: LoweredNetwork,
    config: Config,
    fold: bool = False,
    choice: DomainChoice | None = None,
) -> Plan:
    """Plan a network.

    Parameters
    ----------
    network : LoweredNetwork
    config : Config
    fold : bool
        Fold the first layer if that makes it faster; the fastest folding that fits act mem.
    choice : DomainChoice, optional
        Domains that the layers may run in; all they can if not given.

    Raises
    ------
    CompileError
        A layer that does not fit the configuration; names the layer, what it needs and the bound.
    """
    found = plans(network, config, fold, choice)
    return next((one for one in found if network.input in one.views), found[0])


def plans(
    network: LoweredNetwork,
    config: Config,
    fold: bool = False,
    choice: DomainChoice | None = None,
) -> list[Plan]:
    """Return the plans that a network can have, those with the fewest steps first.

    They differ in how the image is folded: fewer steps, or fewer bytes.

    Raises
    ------
    CompileError
        As `plan` does, if there is none.
    """
    choice = choice or DomainChoice()
    check_config(config)
    choice.check(network.layers, config)
    found: list[Plan] = []
    for variant in [*(folded(network, config) if fold else []), network]:
        try:
            places = place(variant, config, choice)
        except CompileError:
            if variant is network and not found:
                raise
            continue
        tilings = tuple(
            _fastest(layer, config, stripes, choice)
            for layer, stripes in zip(variant.layers, places.stripes, strict=True)
        )
        one = Plan(variant, config, tilings, places, lifetimes_of(variant))
        if all(one.image_bytes < other.image_bytes for other in found):
            found.append(one)
    return found


def _fastest(
    layer: EngineLayer, config: Config, stripes: tuple[Stripe, ...], choice: DomainChoice
) -> Tiling:
    """Return a layer's tiling in the domain that is estimated to be the fastest of its choice."""
    domains = choice.domains(layer, config)
    tilings = [tile_layer(layer, config, stripes, domain) for domain in domains]
    return min(tilings, key=lambda tiling: tiling_cost(tiling, config))


def check_config(config: Config) -> None:
    """Refuse a configuration that the engine's blocks cannot be built with.

    Raises
    ------
    CompileError
        Names the parameters.
    """
    if config.parts * config.Q != config.words * config.T_P or config.T_C % config.Q:
        raise CompileError(
            f"T_C = {config.T_C} must be a multiple of Q = {config.Q}, and one of T_P = "
            f"{config.T_P} and Q a multiple of the other"
        )
    if config.ACT_BANKS & (config.ACT_BANKS - 1):
        raise CompileError(f"ACT_BANKS = {config.ACT_BANKS} is not a power of two")
    if config.T_C > config.Q * config.PARAM_DEPTH:
        raise CompileError(
            f"T_C = {config.T_C} filters need {config.T_C // config.Q} words of parameters, "
            f"PARAM_DEPTH is {config.PARAM_DEPTH}"
        )
