# SPDX-License-Identifier: Apache-2.0
"""Presets of configs.yaml: complete, and every mistake in one gets a message that helps."""

import pytest
import yaml

from unzipfpga import config
from unzipfpga.config import Config, ConfigError, load_config, load_configs


@pytest.fixture
def values():
    return load_config("tiny").parameters()


def load(tmp_path, text):
    path = tmp_path / "configs.yaml"
    path.write_text(text)
    return load_configs(path)


def test_the_presets_are_valid():
    presets = load_configs()
    names = ["tiny", "select", "small", "wide", "base", "bench", "zc706", "zcu104"]
    assert list(presets) == names
    for preset in presets.values():
        assert list(preset.parameters()) == list(Config.model_fields)
    assert presets["bench"].T_P * presets["bench"].T_C == 1024
    assert presets["base"].T_P * presets["base"].T_C == 256


def test_unknown_preset_lists_the_valid_ones():
    with pytest.raises(ConfigError, match=r"unknown CONFIG 'huge'; valid: tiny, select"):
        load_config("huge")


def test_unknown_parameter_is_named_with_a_guess(tmp_path, values):
    with pytest.raises(ConfigError, match=r"preset p: unknown parameter ACT_DEEPTH .*ACT_DEPTH\?"):
        load(tmp_path, yaml.safe_dump({"p": values | {"ACT_DEEPTH": 1}}))


def test_missing_parameter_is_named(tmp_path, values):
    del values["BURST_LEN"]
    with pytest.raises(ConfigError, match=r"preset p: parameter BURST_LEN is missing \(longest"):
        load(tmp_path, yaml.safe_dump({"p": values}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"T_P": 12}, "T_P = 12"),
        ({"T_P": "8"}, "T_P = '8'"),
        ({"T_C": 0}, "T_C = 0"),
        ({"T_C": 7}, "T_C = 7: .*multiple of 2"),
        ({"T_C": 10, "G": 4}, "multiple of G = 4, is 10"),
        ({"T_C": 258}, "T_C = 258: .*equal to 256"),
        ({"G": 3, "T_C": 12}, "G = 3: .*1, 2, 4 or 8"),
        ({"OPERAND_W": 11}, "OPERAND_W = 11: .*8, 12, 16 or 20"),
        ({"OPERAND_W": 16}, "OPERAND_W must be DW = 8, or 12 for the code domain, is 16"),
        ({"DW": 16}, "PAIR=1 needs DW=8"),
        ({"PAIR": 2, "OPERAND_W": 8}, "PAIR=2 needs OPERAND_W=12, OPERAND_W is 8"),
        ({"S": 2, "ACT_BANKS": 2}, r"at least 2\*S = 4, is 2"),
        ({"Q": 64}, "Q must be a divisor of T_P = 8 or 2 or 4 times as much, is 64"),
        ({"Q": 16}, "T_C must be a multiple of Q = 16, is 8"),
        ({"Q": 32, "T_C": 32}, "ACT_BANKS must be at least Q/T_P = 4, is 2"),
        ({"T_C": 6}, "T_C must be a multiple of Q = 4, is 6"),
        ({"T_C": 250, "Q": 1}, r"Q = 1 is too small: .* is 258, at most 255"),
        ({"ACT_BANKS": 3}, "ACT_BANKS = 3: .*2, 4 or 8"),
        ({"AXI_ADDR_W": 32}, "AXI_ADDR_W = 32"),
        ({"AXI_DATA_W": 512, "BURST_LEN": 128}, "8192 bytes"),
        ({"J": True}, "J = True"),
    ],
)
def test_bad_values_are_named(tmp_path, values, change, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, yaml.safe_dump({"p": values | change}))


def test_bad_files(tmp_path):
    with pytest.raises(ConfigError, match="cannot read: No such file"):
        load_configs(tmp_path / "none.yaml")
    for text, message in [
        ("a: [", "not valid YAML"),
        ("", "expected a map"),
        ("tiny: 3", "preset tiny: expected a map"),
        ("a: {}\na: {}", "repeated key 'a'"),
        ("a: {T_P: 8, T_P: 16}", "repeated key 'T_P'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load(tmp_path, text)


def test_installed_without_the_repository(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "__file__", str(tmp_path / "unzipfpga" / "config.py"))
    with pytest.raises(ConfigError, match="run from a checkout"):
        config.default_path()
