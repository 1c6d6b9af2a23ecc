"""What the environment may say, and what `--help` says of it."""

import dataclasses
import subprocess
import sys

import pytest

from runestone_sidecar.settings import (
    NUMBERS,
    Number,
    Settings,
    SettingsError,
    read_settings,
    render_help,
)

EACH = [pytest.param(field, number, id=number.variable) for field, number in NUMBERS.items()]


@pytest.mark.parametrize(("field", "number"), EACH)
def test_a_number_is_read_within_its_bounds(field: str, number: Number) -> None:
    for value in (number.low, number.high):
        assert getattr(read_settings({number.variable: str(value)}), field) == value
    for text in (str(number.low - 1), str(number.high + 1), "", "1.5", "1e3", " 1", "٣", "-0"):
        with pytest.raises(SettingsError, match=number.variable):
            read_settings({number.variable: text})


@pytest.mark.parametrize(("field", "number"), EACH)
def test_a_default_is_within_its_bounds(field: str, number: Number) -> None:
    default = getattr(read_settings({}), field)
    assert number.low <= default <= number.high
    assert f"{number.text} ({default:.0f})" in render_help()


def test_each_number_is_a_setting() -> None:
    assert set(NUMBERS) <= {field.name for field in dataclasses.fields(Settings)}


def test_help_tells_the_variables() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "runestone_sidecar", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for number in NUMBERS.values():
        assert f"  {number.variable} " in ended.stdout
