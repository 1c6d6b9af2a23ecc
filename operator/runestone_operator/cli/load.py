"""What a command begins with: files read, one namespace chosen and compiled, problems in order."""

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from runestone_operator.cli.compiled import Build, Keyring, build, choose_namespace
from runestone_operator.cli.report import Problem, errors_of
from runestone_operator.cli.source.files import Contents
from runestone_operator.cli.source.world import World, build_world, named_namespaces

_NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Source(Protocol):
    """Where documents come from. Raises CommandError where there are none to be had."""

    def read(self) -> Contents: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """One namespace as the sources describe it now."""

    world: World
    build: Build

    @property
    def problems(self) -> list[Problem]:
        return in_order([*self.world.problems, *self.build.problems])

    @property
    def unreadable(self) -> list[Problem]:
        """Errors that leave open what a document says."""
        return errors_of(self.world.problems)


def load(source: Source, namespace: str | None, keyring: Keyring) -> Loaded:
    """Raises CommandError where it is not clear which namespace is meant."""
    contents = source.read()
    chosen = choose_namespace(named_namespaces(contents), namespace)
    world = build_world(contents, chosen)
    return Loaded(world, build(world, chosen, keyring))


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.place.file, problem.place.line))


def add_file_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "-f",
        "--file",
        dest="files",
        metavar="PATH",
        action="append",
        default=[],
        required=required,
        help="YAML or JSON file, or a folder of them; may be given several times",
    )
    parser.add_argument(
        "-n",
        "--namespace",
        type=_namespace,
        help="the namespace to look at, where the files hold more than one",
    )


def _namespace(text: str) -> str:
    if not _NAMESPACE.fullmatch(text):
        raise argparse.ArgumentTypeError("a namespace is lower case letters, digits and '-'")
    return text


def paths_shown(paths: Sequence[str]) -> str:
    return ", ".join(paths)
