"""`runestone explain`: where a request would go, in what order, and why nowhere else.

The sidecar decides, by the very code that serves; this asks it and puts the answer into words.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from runestone_operator.cli.answer import complete, words
from runestone_operator.cli.compiled import StandIns
from runestone_operator.cli.failure import FAILED, USAGE, CommandError
from runestone_operator.cli.load import Loaded, add_file_options, load
from runestone_operator.cli.mount import BundleDir
from runestone_operator.cli.report import errors_of, problem_lines
from runestone_operator.cli.sidecar import sidecar_command, sidecar_environment
from runestone_operator.cli.source.files import STDIN, FileSource

DESCRIPTION: Final = """\
Say where a request would go: which key, policy and rule apply, which providers are tried in which
order and at what cost, and why each other one is not. No request is sent to anybody.
Exit code: 0 when it would be routed, 1 when it would be refused, 2 for a wrong command line."""

_TIMEOUT_S: Final = 60
_HELLO: Final = [{"role": "user", "content": "Hello"}]
_SHORT: Final[Mapping[str, Mapping[str, Any]]] = {  # by endpoint: a request, less its model
    "chat/completions": {"messages": _HELLO},
    "messages": {"messages": _HELLO, "max_tokens": 512},
    "responses": {"input": "Hello"},
    "completions": {"prompt": "Hello"},
    "embeddings": {"input": "Hello"},
}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "explain",
        help="say where a request would go, and why",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file_options(parser, required=True)
    parser.add_argument("--key", metavar="NAME", help="the ApiKey; not needed if there is only one")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--model", help="explain a short request for this model")
    asked.add_argument(
        "--request", metavar="FILE", help="explain the request in this JSON file (- is stdin)"
    )
    parser.add_argument(
        "--endpoint",
        choices=tuple(_SHORT),
        default="chat/completions",
        help="where the request is sent to (chat/completions)",
    )
    parser.add_argument(
        "--header",
        metavar="NAME=VALUE",
        action="append",
        type=_header,
        default=[],
        help="a header of the request; may be given several times",
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.set_defaults(call=explain)


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError("a header is given as name=value")
    return name.strip().lower(), value.strip()


def explain(arguments: argparse.Namespace) -> int:
    question = {
        "api_key": arguments.key,
        "path": f"/v1/{arguments.endpoint}",
        "headers": dict(arguments.header),
        "body": _body(arguments),
    }
    loaded = load(FileSource(arguments.files), arguments.namespace, StandIns())
    errors = errors_of(loaded.problems)
    for line in problem_lines(errors):
        print(line, file=sys.stderr)
    if loaded.unreadable:
        print("no explanation while there are errors in the files", file=sys.stderr)
        return FAILED
    answer = _ask(loaded, question)
    complete(answer, loaded.build.compiled.config)
    if arguments.output == "json":
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print("\n".join(words(answer)))
    return FAILED if "error" in answer else 0


def _body(arguments: argparse.Namespace) -> Any:
    if arguments.model is not None:
        return {"model": arguments.model, **_SHORT[arguments.endpoint]}
    if arguments.request == STDIN and STDIN in arguments.files:
        raise CommandError("standard input can be only one of -f and --request", exit_code=USAGE)
    try:
        if arguments.request == STDIN:
            return json.loads(sys.stdin.buffer.read())
        return json.loads(Path(arguments.request).read_bytes())
    except OSError as error:
        message = f"{arguments.request} cannot be read: {error.strerror}"
        raise CommandError(message, exit_code=USAGE) from None
    except (ValueError, RecursionError):
        message = f"{arguments.request} does not hold the JSON of one request"
        raise CommandError(message, exit_code=USAGE) from None


def _ask(loaded: Loaded, question: Mapping[str, Any]) -> dict[str, Any]:
    command = sidecar_command("explain")
    with tempfile.TemporaryDirectory(prefix="runestone-") as name:
        folder = Path(name)
        build = loaded.build
        BundleDir(folder).write(build.config_files, build.credential_files, settle=lambda: None)
        done = subprocess.run(
            command,
            input=json.dumps(question).encode(),
            stdout=subprocess.PIPE,
            env=sidecar_environment(folder, LOG_LEVEL="error"),
            timeout=_TIMEOUT_S,
            check=False,
        )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise CommandError(f"the sidecar gave no explanation (exit code {done.returncode})")
    return answer
