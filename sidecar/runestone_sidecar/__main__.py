"""`runestone-sidecar`: the data plane as a process, and `runestone-sidecar explain`."""

import sys

import uvloop

from runestone_sidecar.app import serve
from runestone_sidecar.explain import explain
from runestone_sidecar.settings import SettingsError, read_settings, render_help
from runestone_sidecar.telemetry.log import configure_logging

USAGE = "usage: runestone-sidecar [explain]   (settings come from the environment)\n"


def main() -> int:
    arguments = sys.argv[1:]
    if arguments in (["--help"], ["-h"]):
        sys.stdout.write(f"{USAGE}\nEnvironment variables, with their defaults:\n{render_help()}")
        return 0
    try:
        settings = read_settings()
        configure_logging(settings.log_level)
        if arguments == ["explain"]:
            return explain(settings, sys.stdin.buffer.read(), sys.stdout)
        if arguments:
            sys.stderr.write(USAGE)
            return 2
        uvloop.run(serve(settings))
    except SettingsError as error:
        sys.stderr.write(f"runestone-sidecar: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
