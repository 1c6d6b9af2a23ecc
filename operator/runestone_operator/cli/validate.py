"""`runestone validate`: every problem of some files, each with the line that it is on."""

import argparse
import json
from collections.abc import Sequence
from typing import Final

from runestone_operator.cli.compiled import StandIns, build
from runestone_operator.cli.failure import FAILED
from runestone_operator.cli.load import add_file_options, in_order, paths_shown
from runestone_operator.cli.report import (
    Place,
    Problem,
    errors_of,
    problem_lines,
    tally,
    warnings_of,
)
from runestone_operator.cli.source.files import FileSource
from runestone_operator.cli.source.world import (
    DEFAULT_NAMESPACE,
    Skipped,
    World,
    build_world,
    named_namespaces,
)

_SHOWN: Final = 5

DESCRIPTION: Final = """\
Check resources without a cluster: their form, and what only shows when they are compiled together,
such as references to what is not there. Prints file:line for each problem.
Exit code: 0 without errors (warnings are allowed), 1 with errors, 2 for a wrong command line."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "validate",
        help="find mistakes in resource files, with their lines",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file_options(parser, required=True)
    parser.add_argument(
        "--without-secrets",
        action="store_true",
        help="Secrets that are not in the files are kept elsewhere: do not miss them",
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.set_defaults(call=validate)


def validate(arguments: argparse.Namespace) -> int:
    contents = FileSource(arguments.files).read()
    named = named_namespaces(contents)
    only = next(iter(named)) if len(named) == 1 else DEFAULT_NAMESPACE
    world = build_world(contents, arguments.namespace or only)
    problems = _problems(world, arguments)
    if arguments.output == "json":
        print(json.dumps(_as_json(world, problems), indent=2, ensure_ascii=False))
    else:
        _print(world, problems)
    return FAILED if errors_of(problems) else 0


def _problems(world: World, arguments: argparse.Namespace) -> list[Problem]:
    found = list(world.problems)
    if not world.count and not found:
        message = "no ProviderPool, ApiKey or RoutingPolicy is in there"
        found.append(Problem(Place(paths_shown(arguments.files)), message))
    namespaces = [arguments.namespace] if arguments.namespace else world.namespaces()
    for namespace in namespaces:
        built = build(world, namespace, StandIns(), assume_secrets=arguments.without_secrets)
        found += built.problems
    return in_order(found)


def _print(world: World, problems: Sequence[Problem]) -> None:
    for line in problem_lines(problems):
        print(line)
    if world.skipped:
        print(f"Skipped, since Runestone does not use them: {_skipped(world.skipped)}")
    if not world.secrets and any('Secret "' in problem.message for problem in problems):
        print(
            "No Secret is in these files. Where Secrets are kept elsewhere, give --without-secrets."
        )
    print(tally(world.count, problems))


def _skipped(skipped: Sequence[Skipped]) -> str:
    shown = [f"{item.kind} ({item.place})" for item in skipped[:_SHOWN]]
    rest = len(skipped) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def _as_json(world: World, problems: Sequence[Problem]) -> dict[str, object]:
    return {
        "resources": world.count,
        "errors": [problem.as_json() for problem in errors_of(problems)],
        "warnings": [problem.as_json() for problem in warnings_of(problems)],
        "skipped": [
            {"kind": item.kind, "file": item.place.file, "line": item.place.line}
            for item in world.skipped
        ],
    }
