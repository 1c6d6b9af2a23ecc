"""`runestone`: reads the command line and calls the command. Exit codes are those of `failure`."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from runestone_operator.cli import audit, explain, jobs, validate, version
from runestone_operator.cli import compile as compile_command
from runestone_operator.cli.failure import USAGE, CommandError
from runestone_operator.cli.run import command as run

_INTERRUPTED: Final = 130

DESCRIPTION: Final = """\
An LLM gateway for the OpenAI API, from the same resources as in a cluster.

Try it:  OPENAI_API_KEY=sk-... runestone run
     or  runestone run -f my-resources/"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    given = parser.parse_args(arguments)
    if "call" not in given:
        parser.print_help(sys.stderr)
        return USAGE
    try:
        code = int(given.call(given))
        sys.stdout.flush()
        return code
    except CommandError as error:
        print(f"runestone: {error.message}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # `runestone … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "runestone",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in (run, validate, compile_command, explain, jobs, audit, version):
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
