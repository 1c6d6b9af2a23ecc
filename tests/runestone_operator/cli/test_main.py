"""The command as a whole: what somebody sees who calls it for the first time, or by a pipe."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runestone_operator.cli.main import main

if TYPE_CHECKING:
    from runestone_testing.shop import Shop


def test_without_a_command_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2

    said = capsys.readouterr().err
    assert "OPENAI_API_KEY=sk-... runestone run" in said
    for command in ("run", "validate", "compile", "explain", "version"):
        assert f"    {command} " in said


@pytest.mark.parametrize("command", ["run", "validate", "compile", "explain"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])

    assert ended.value.code == 0
    assert "-f PATH" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("runestone 0.")


WITHOUT_WATCHFILES = """
import sys
sys.modules["watchfiles"] = None
from runestone_operator.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        pytest.param("validate", 0, "3 resources, 0 errors", id="validate"),
        pytest.param("run", 1, "run needs watchfiles: pip install 'runestone[", id="run"),
    ],
)
def test_only_run_needs_what_standalone_installs(
    shop: Shop, command: str, code: int, said: str
) -> None:
    ports = ["--port", "0", "--health-port", "0"] if command == "run" else []
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_WATCHFILES, command, "-f", str(shop), *ports],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == code
    assert said in done.stdout + done.stderr


def test_a_reader_that_leaves_is_no_error(shop: Shop) -> None:
    targets = "".join(f"\n    - pool: no-{number}" for number in range(5000))
    shop.edit("policy.yaml", "\n    - pool: pool", targets)
    command = [sys.executable, "-m", "runestone_operator.cli.main", "validate", "-f", str(shop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stderr
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
