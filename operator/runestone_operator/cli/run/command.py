"""`runestone run`: the command line, and everything that can be said before a child is started."""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from runestone_contract.names import API_PORT, HEALTH_PORT
from runestone_operator.cli.failure import FAILED, USAGE, CommandError
from runestone_operator.cli.load import Loaded, Source, add_file_options, load
from runestone_operator.cli.report import counted, problem_lines
from runestone_operator.cli.run.nats import LOOPBACK
from runestone_operator.cli.run.options import Options
from runestone_operator.cli.run.ports import check_port, free_port
from runestone_operator.cli.run.reload import Reloader, nothing_to_serve
from runestone_operator.cli.source.environment import EnvironmentSource
from runestone_operator.cli.source.files import STDIN, FileSource
from runestone_operator.cli.state import StateDir, add_state_option

DESCRIPTION: Final = """\
Serve an OpenAI-compatible endpoint from resource files, or from a few environment variables.

With -f: the same ProviderPools, ApiKeys, RoutingPolicies and Secrets as in a cluster. The files are
watched; a good edit is applied while requests run, a broken one is reported and changes nothing.

Without -f, from the environment:
  OPENAI_API_KEY, ANTHROPIC_API_KEY   providers: one of them, or both
  OPENAI_BASE_URL, ANTHROPIC_BASE_URL where they are, if not at the vendor
  RUNESTONE_API_KEY                   the key that clients call with (default: a generated one)
  RUNESTONE_ROUTER_POLICY             default, or cost: the cheapest capable provider
  MAX_CONCURRENT_PER_TENANT           requests that may run at once"""

_MAX_PORT: Final = 65535


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "run",
        help="serve, from resource files or from OPENAI_API_KEY alone",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file_options(parser, required=False)
    _add_listening(parser)
    parser.add_argument("--no-watch", action="store_true", help="read the files once only")
    add_state_option(parser)
    parser.add_argument(
        "--show-key",
        action="store_true",
        help="print the client key in full even where the output is not a terminal",
    )
    parser.add_argument(
        "--log",
        choices=("text", "json"),
        help="how requests are logged on stderr (default: text on a terminal, else json)",
    )
    parser.set_defaults(call=run)


def _add_listening(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=_port, default=API_PORT, help="of the API (%(default)s; 0: any free one)"
    )
    parser.add_argument(
        "--health-port",
        type=_port,
        default=HEALTH_PORT,
        help="of health and metrics (%(default)s; 0: any free one)",
    )
    parser.add_argument(
        "--nats-port", type=_port, default=0, help="of the nats-server (default: any free one)"
    )
    parser.add_argument(
        "--no-nats",
        action="store_true",
        help="do not start a nats-server: there are no jobs, what keys have used of their limits is"
        " forgotten when the sidecar ends, and more of them by hand do not share limits",
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to {_MAX_PORT}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    if STDIN in arguments.files:
        raise CommandError("run watches its files: it cannot read standard input", exit_code=USAGE)
    state = StateDir(arguments.state_dir)
    options = _options(arguments)
    files = FileSource(arguments.files)
    source: Source = files if arguments.files else EnvironmentSource(os.environ, options.port)
    loaded = load(source, arguments.namespace, state)
    if not _may_start(loaded, arguments.files):
        return FAILED
    namespace, is_once = loaded.build.namespace, arguments.port == 0
    reloader = None
    if arguments.files and not arguments.no_watch:
        reloader = Reloader(files, namespace, state, loaded)
    with state.instance(namespace, options.port, is_once=is_once) as folder:
        return asyncio.run(_session(options, loaded, folder, state, reloader))


async def _session(
    options: Options, loaded: Loaded, folder: Path, state: StateDir, reloader: Reloader | None
) -> int:
    # Only this needs what [standalone] installs: the other commands work without.
    try:
        from runestone_operator.cli.run.session import Session  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        message = f"run needs {missing.name}: pip install 'runestone[standalone]'"
        raise CommandError(message) from None
    session = Session(options, loaded, folder=folder, state=state, reloader=reloader)
    return await session.run()


def _options(arguments: argparse.Namespace) -> Options:
    host: str = arguments.host
    for port, option in ((arguments.port, "--port"), (arguments.health_port, "--health-port")):
        check_port(host, port, option)
    if arguments.port and arguments.port == arguments.health_port:
        raise CommandError("--port and --health-port must differ", exit_code=USAGE)
    nats_port = None
    if not arguments.no_nats:
        check_port(LOOPBACK, arguments.nats_port, "--nats-port")
        nats_port = arguments.nats_port or free_port(LOOPBACK)
    return Options(
        host=host,
        port=arguments.port or free_port(host),
        health_port=arguments.health_port or free_port(host),
        nats_port=nats_port,
        show_key=arguments.show_key or sys.stdout.isatty(),
        json_log=arguments.log == "json" or (arguments.log is None and not sys.stderr.isatty()),
    )


def _may_start(loaded: Loaded, paths: list[str]) -> bool:
    """Prints what is wrong. A reference that does not resolve takes out a part, not the whole."""
    for line in problem_lines(loaded.problems):
        print(line, file=sys.stderr)
    blocking = loaded.unreadable or nothing_to_serve(loaded, paths)
    if not blocking:
        return True
    if not loaded.unreadable:
        for problem in blocking:
            print(problem, file=sys.stderr)
    print(f"nothing started: {counted(len(blocking), 'error')} to mend first", file=sys.stderr)
    return False
