# SPDX-License-Identifier: Apache-2.0
"""Converted networks, layer by layer: the golden model against two others.

One is ONNX Runtime's quantised execution, within one step; the other a slow reference in exact
rational numbers, equal in every bit. Faults planted in the golden model must be caught by both.
"""

import dataclasses
import functools

import numpy as np
import pytest

from tests.refmodel import converted, exact_reference, quantised_runtime
from unzipfpga.frontend import Network
from verif.refmodel import model as golden

CASES = [(options, name) for options in converted.OPTIONS for name in converted.NETWORKS]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Function that converts a network, or returns it if it has been before."""

    @functools.cache
    def make(options: str, name: str) -> tuple[golden.Model, Network]:
        directory = tmp_path_factory.mktemp("converted")
        builder = converted.NETWORKS[name]()
        path, network = converted.converted(builder, converted.OPTIONS[options], directory)
        return golden.load(path), network

    return make


def check_exact(model: golden.Model, network: Network, images: np.ndarray) -> None:
    """Every tensor of every image equals the exact reference."""
    x = model.quantize(images)
    actual = model.layer_outputs(x)
    for index, image in enumerate(x):
        expected = exact_reference.evaluate(network, image.tolist())
        for layer in network.layers:
            np.testing.assert_array_equal(
                actual[layer.name][index], np.array(expected[layer.output]), err_msg=layer.name
            )


def sample(model: golden.Model, count: int) -> np.ndarray:
    return converted.images(model.input_shape, count, 7)


@pytest.mark.parametrize(("options", "name"), CASES)
def test_equals_the_exact_reference(case, options, name):
    model, network = case(options, name)
    check_exact(model, network, sample(model, 1))
    assert len(np.unique(model.run(sample(model, 20)))) > 5, "its logits would hide errors"


@pytest.mark.parametrize(("options", "name"), CASES)
def test_is_within_one_step_of_quantised_execution(case, options, name):
    model, network = case(options, name)
    quantised_runtime.check_layers(model, network, sample(model, 20))


def test_every_kind_of_layer_is_checked(case):
    networks = [case(options, name)[1] for options, name in CASES]
    found = [converted.features(network, layer) for network in networks for layer in network.layers]
    assert set().union(*found) == converted.FEATURES


def replaced(model: golden.Model, name: str, **changes) -> golden.Model:
    """The model with fields of one step changed, each by a function of its value."""
    assert any(step.name == name for step in model.steps)
    steps = []
    for step in model.steps:
        if step.name == name:
            values = {key: change(getattr(step, key)) for key, change in changes.items()}
            if isinstance(step, golden.Layer):
                values["acc_bound"] = 2**31 - 1
            step = dataclasses.replace(step, **values)
        steps.append(step)
    return dataclasses.replace(model, steps=tuple(steps))


def first_filter(change):
    """Change the first entry of an array [C_out, ...]."""

    def changed(values):
        values = values.copy()
        values[0] = change(values[0])
        return values

    return changed


FAULTS = [
    ("residual", "conv_0", {"weights": first_filter(lambda w: w[:, ::-1])}),
    ("residual", "conv_0", {"bias": first_filter(lambda b: b + 2000)}),
    ("residual", "conv_0", {"lo": lambda _: -127}),
    ("residual", "conv_3", {"hi": lambda hi: hi // 2}),
    ("residual", "conv_5", {"residual": lambda _: None, "m_r": lambda _: 0}),
    ("residual", "conv_5", {"t": lambda t: t - 1}),
    ("residual", "conv_9", {"m_r": lambda m: m - m // 8}),
    ("residual", "conv_9", {"s": lambda s: s + 1}),
    ("residual", "maxpool_12", {"pads": lambda _: (0, 0, 2, 2)}),
    ("residual", "gemm_14", {"m": first_filter(lambda m: m - m // 8)}),
    ("separable", "conv_3", {"weights": lambda w: w[::-1]}),
    ("separable", "conv_5", {"weights": lambda w: w[:, ::-1]}),
    ("separable", "averagepool_6", {"m": first_filter(lambda m: m - m // 8)}),
    ("separable", "averagepool_6", {"pads": lambda _: (2, 2, 0, 0)}),
    ("averaging", "averagepool_2", {"m": first_filter(lambda m: 0 * m + m[5, 5])}),
    ("averaging", "averagepool_6", {"m": lambda m: m[:, ::-1]}),
    ("averaging", "averagepool_8", {"m": first_filter(lambda m: m - m // 8)}),
    ("squeeze", "globalaveragepool_5", {"s": lambda s: s - 1}),
    ("fire", "conv_14", {"weights": first_filter(lambda w: w[::-1])}),
    ("fire", "concat_16", {"sources": lambda names: names[::-1]}),
]


@pytest.mark.parametrize(("name", "layer", "changes"), FAULTS)
def test_planted_faults_are_caught(case, name, layer, changes):
    model, network = case("dense", name)
    faulty = replaced(model, layer, **changes)
    with pytest.raises(AssertionError, match=layer):
        check_exact(faulty, network, sample(model, 2))
    with pytest.raises(AssertionError, match=layer):
        quantised_runtime.check_layers(faulty, network, sample(model, 20))


class HalfDown(golden.Layer):
    """A layer that rounds halves down: one step off, where a sum falls on a half."""

    def evaluate(self, x, residual):
        total = (self.accumulate(x) + self.bias.reshape(-1, 1, 1)) * self.m.reshape(-1, 1, 1)
        total += (1 << (self.s - 1)) - 1
        return np.clip(total >> self.s, self.lo, self.hi).astype(np.int32)


def test_one_step_at_halves_is_caught_by_the_exact_reference(case):
    model, network = case("dense", "squeeze")
    # A pool that divides by a power of two: its sums fall on halves.
    name, ones = "globalaveragepool_5", np.ones(10, np.int16)
    model = replaced(model, name, m=lambda _: ones.astype(np.int64), s=lambda _: 4)
    layers = [
        dataclasses.replace(layer, m=ones, s=4) if layer.name == name else layer
        for layer in network.layers
    ]
    network = dataclasses.replace(network, layers=tuple(layers))
    check_exact(model, network, sample(model, 8))
    fields = vars(model.layers[name])
    steps = [HalfDown(**fields) if step.name == name else step for step in model.steps]
    with pytest.raises(AssertionError, match=name):
        check_exact(dataclasses.replace(model, steps=tuple(steps)), network, sample(model, 8))
