"""`runestone compile`: resource files into the two folders that a pod has mounted."""

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import Final

from runestone_operator.cli.failure import FAILED, CommandError
from runestone_operator.cli.load import Loaded, add_file_options, load
from runestone_operator.cli.mount import BundleDir
from runestone_operator.cli.report import counted, errors_of, problem_lines
from runestone_operator.cli.source.files import FileSource
from runestone_operator.cli.state import StateDir, add_state_option

_SETTLE_S: Final = 1.0  # a sidecar looks every 0.1 s

DESCRIPTION: Final = """\
Compile resources into DIR/config and DIR/credentials, as a pod would see them mounted. Start any
number of sidecars on the two folders; compiling into the same DIR again is a live reload for them.
With errors in the files nothing is written."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "compile",
        help="write the folders that a sidecar reads",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file_options(parser, required=True)
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, required=True, help="where to write"
    )
    add_state_option(parser)
    parser.set_defaults(call=compile_files)


def compile_files(arguments: argparse.Namespace) -> int:
    state = StateDir(arguments.state_dir)
    loaded = load(FileSource(arguments.files), arguments.namespace, state)
    for line in problem_lines(loaded.problems):
        print(line, file=sys.stderr)
    if errors := errors_of(loaded.problems):
        print(f"nothing written: {counted(len(errors), 'error')}", file=sys.stderr)
        return FAILED
    changed = _write(BundleDir(arguments.output), loaded)
    for line in _report(arguments.output, loaded, changed, state):
        print(line)
    return 0


def _write(folder: BundleDir, loaded: Loaded) -> bool:
    build = loaded.build
    try:
        return folder.write(
            build.config_files, build.credential_files, settle=lambda: time.sleep(_SETTLE_S)
        )
    except OSError as error:
        raise CommandError(f"{folder.path} cannot be written: {error.strerror}") from None


def _report(folder: Path, loaded: Loaded, changed: bool, state: StateDir) -> list[str]:
    build = loaded.build
    config = build.compiled.config
    holds = ", ".join(
        (
            counted(len(config.pools), "pool"),
            counted(len(config.keys), "key"),
            counted(len(build.compiled.credentials), "credential"),
        )
    )
    lines = [f"{folder}: configuration {build.digest[:12]} of namespace {build.namespace}: {holds}"]
    lines += [
        f"The key of ApiKey {key.name} is in {state.key_file(build.namespace, key.name)}"
        for key in build.client_keys
        if key.is_generated
    ]
    if not changed:
        return [*lines, "Unchanged: nothing written."]
    where = shlex.quote(str(folder.resolve()))
    return [
        *lines,
        "Start a sidecar on it:",
        f"  RUNESTONE_CONFIG_DIR={where}/config RUNESTONE_CREDENTIALS_DIR={where}/credentials"
        " runestone-sidecar",
    ]
