"""What the environment may say, and what `--help` says of it."""

import dataclasses
import subprocess
import sys

import pytest

from runestone_sidecar.settings import (
    NUMBERS,
    TEXTS,
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
    numbers, texts = NUMBERS.values(), TEXTS.values()
    for variable in (*(each.variable for each in numbers), *(each.variable for each in texts)):
        assert f"  {variable} " in ended.stdout


@pytest.mark.parametrize("destination", ["off", "stdout", "/var/log/audit", "./audit"])
def test_audit_records_go_where_is_said(destination: str) -> None:
    assert read_settings({"RUNESTONE_AUDIT": destination}).audit == destination


@pytest.mark.parametrize("destination", ["", "on", "stderr", "STDOUT", "audit"])
def test_a_destination_that_is_a_slip_is_refused(destination: str) -> None:
    with pytest.raises(SettingsError, match="RUNESTONE_AUDIT must be off, stdout or a path"):
        read_settings({"RUNESTONE_AUDIT": destination})
