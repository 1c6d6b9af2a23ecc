"""`runestone audit verify`: whether the audit records of sidecars are as they were written."""

import argparse
import sys
from collections.abc import Iterable
from typing import IO, Final

from runestone_operator.cli.chains import Break, Chain, Verifier
from runestone_operator.cli.failure import FAILED, USAGE, CommandError
from runestone_operator.cli.report import Place, counted
from runestone_operator.cli.source.files import STDIN

DESCRIPTION: Final = """\
Check the audit records of sidecars (RUNESTONE_AUDIT): each holds its own hash and that of the one
before it. Says where a record was edited, removed or moved. Other lines of a log are passed over;
several files are read as one, the oldest first.
Exit code: 0 when every link holds, 1 when one does not or there is no record, 2 for a wrong
command line."""

ENDS: Final = """\
What was cut off behind the last record of a chain cannot be seen from the records alone: note a
last hash elsewhere, and see later that it is still there."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("audit", help="check the audit records of sidecars")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = actions.add_parser(
        "verify",
        help="say where a chain of records does not hold",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("files", metavar="FILE", nargs="+", help="a file, or - for stdin")
    check.set_defaults(call=verify)


def verify(arguments: argparse.Namespace) -> int:
    verifier = Verifier()
    for name in arguments.files:
        _read(verifier, name)
    if not verifier.chains and not any(verifier.breaks()):
        print("There is no audit record in there.")
        return FAILED
    for chain in verifier.chains.values():
        print("\n".join(_described(chain)))
    broken = [*verifier.breaks()]
    for found in broken:
        print(f"BROKEN {found.place}: {_told(found)}")
    size = f"{counted(verifier.records, 'record')} in {counted(len(verifier.chains), 'chain')}"
    print(f"{size}: {'not as they were written' if broken else 'every link holds'}.\n{ENDS}")
    return FAILED if broken else 0


def _read(verifier: Verifier, name: str) -> None:
    try:
        if name == STDIN:
            _feed(verifier, "stdin", sys.stdin.buffer)
        else:
            with open(name, "rb") as file:
                _feed(verifier, name, file)
    except OSError as error:
        message = f"{name} cannot be read: {error.strerror}"
        raise CommandError(message, exit_code=USAGE) from None


def _feed(verifier: Verifier, name: str, lines: IO[bytes]) -> None:
    for number, line in enumerate(lines, start=1):
        verifier.read(Place(name, number), line.removesuffix(b"\n"))


def _described(chain: Chain) -> Iterable[str]:
    yield f"Chain {chain.id}: {counted(chain.records, 'record')}, {chain.first} to {chain.last}"
    if chain.link is not None:
        last = "last hash" if chain.broken is None else "last hash before the break"
        yield f"  {last}: {chain.link.hash}"
    if chain.broken is None and not chain.closed:
        yield "  without a closing record: it is still written, was killed, or its end was cut off"
    if chain.torn:
        yield f"  {counted(chain.torn, 'torn line')} of a killed process put aside, as it tells"
    if chain.lost:
        yield f"  {counted(chain.lost, 'record')} lost while nothing could be written, as it tells"


def _told(found: Break) -> str:
    if found.missing is None:
        return found.what
    if found.found is not None:
        return f"{found.what}: it was moved to {found.found}"
    if found.missing == 0:
        return f"{found.what}: removed, or in an earlier file that was not given"
    return f"{found.what}: removed"
