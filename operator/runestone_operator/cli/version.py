"""`runestone version`."""

import argparse
import importlib.metadata
import platform

from runestone_contract.bundle import SCHEMA_VERSION


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("version", help="print the version")
    parser.set_defaults(call=version)


def version(_: argparse.Namespace) -> int:
    print(
        f"runestone {importlib.metadata.version('runestone')}"
        f" (configuration schema {SCHEMA_VERSION}, Python {platform.python_version()})"
    )
    return 0
