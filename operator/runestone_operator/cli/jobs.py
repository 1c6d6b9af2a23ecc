"""`runestone jobs`: the overflow jobs of a namespace, as a sidecar tells of them to an Admin's key.

It speaks HTTP to any sidecar of the namespace: who calls it needs no access to NATS.
"""

import argparse
import json
import re
import time
from typing import TYPE_CHECKING, Any, Final

from runestone_operator.cli.failure import FAILED, USAGE, CommandError
from runestone_operator.cli.jobs_client import JobsClient, JobsRefused, address, secret
from runestone_operator.cli.jobs_table import details, table
from runestone_operator.cli.report import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

DESCRIPTION: Final = """\
Look after the overflow jobs of a namespace: requests that are answered later. Asks a sidecar (or
gateway), with a key whose ApiKey has the role Admin; what was asked and answered is not shown.
Exit code: 0 when all was done, 1 when something was not, 2 for a wrong command line."""

ENDS: Final = ("succeeded", "failed", "cancelled", "expired")
STATES: Final = ("queued", "running", "retrying", *ENDS)
RETRIED: Final = "failed,expired"
SHOWN: Final = 50
_DURATION: Final = re.compile(r"[0-9]{1,9}[smhd]", re.ASCII)

Parser = argparse.ArgumentParser


def add_parser(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = commands.add_parser(
        "jobs",
        help="list, show, retry, cancel and purge overflow jobs",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    listing = _action(actions, "list", "jobs, the newest first", _list)
    _add_filters(listing, STATES)
    _add_newer(listing)
    listing.add_argument(
        "--limit", type=_count, default=SHOWN, metavar="N", help=f"show N at most ({SHOWN})"
    )
    showing = _action(actions, "show", "all that is known of a job", _show)
    showing.add_argument("job", metavar="ID")
    retrying = _action(actions, "retry", "try jobs anew that failed or expired", _retry)
    retrying.add_argument("jobs", metavar="ID", nargs="*", help="these; else those of --state")
    _add_filters(retrying, ("failed", "expired"))
    _add_newer(retrying)
    cancelling = _action(actions, "cancel", "cancel jobs that have not ended", _cancel)
    cancelling.add_argument("jobs", metavar="ID", nargs="+")
    purging = _action(actions, "purge", "forget jobs that have ended", _purge)
    _add_filters(purging, ENDS, required=True)


def _action(
    actions: "argparse._SubParsersAction[Parser]", name: str, text: str, call: Any
) -> Parser:
    parser = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument(
        "--url",
        help="the sidecar (RUNESTONE_URL, else OPENAI_BASE_URL, else http://127.0.0.1:4003)",
    )
    parser.add_argument("--key", metavar="SECRET", help="the Admin's key (RUNESTONE_API_KEY)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.set_defaults(call=call)
    return parser


def _add_filters(parser: Parser, states: tuple[str, ...], *, required: bool = False) -> None:
    parser.add_argument(
        "--state",
        type=lambda text: _states(text, states),
        required=required,
        help=f"of {', '.join(states)}; several with commas between",
    )
    parser.add_argument("--owner", metavar="NAME", help="those of this ApiKey")
    parser.add_argument("--tenant", help="those of this tenant's ApiKeys")
    ended = "ended" if required else "made"
    parser.add_argument(
        "--older-than",
        type=_duration,
        metavar="AGE",
        help=f"{ended} so long ago: 90s, 15m, 24h, 7d",
    )


def _add_newer(parser: Parser) -> None:
    parser.add_argument("--newer-than", type=_duration, metavar="AGE", help="made since then")


def _states(text: str, states: tuple[str, ...]) -> str:
    if not text or not set(text.split(",")) <= set(states):
        raise argparse.ArgumentTypeError(f"not of {', '.join(states)}: {text!r}")
    return text


def _duration(text: str) -> str:
    if not _DURATION.fullmatch(text):
        raise argparse.ArgumentTypeError(f"not like 90s, 15m, 24h or 7d: {text!r}")
    return text


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"not a whole number from 1: {text!r}")
    return int(text)


def _client(arguments: argparse.Namespace) -> JobsClient:
    return JobsClient(address(arguments.url), secret(arguments.key))


def _filters(arguments: argparse.Namespace) -> dict[str, str]:
    given = {
        "state": arguments.state,
        "key": arguments.owner,
        "tenant": arguments.tenant,
        "older_than": arguments.older_than,
        "newer_than": getattr(arguments, "newer_than", None),
    }
    return {name: value for name, value in given.items() if value is not None}


def _list(arguments: argparse.Namespace) -> int:
    with _client(arguments) as client:
        found = client.list(_filters(arguments))
    found.sort(key=lambda job: (job["created_at"], job["id"]), reverse=True)
    shown = found[: arguments.limit]
    if arguments.output == "json":
        _print_json(shown)
        return 0
    print(table(shown, now_s=time.time()) if shown else "There are no such jobs.")
    if len(found) > len(shown):
        print(
            f"… and {len(found) - len(shown)} older: --limit shows more, --state and others fewer"
        )
    return 0


def _show(arguments: argparse.Namespace) -> int:
    with _client(arguments) as client:
        job = client.show(arguments.job)
    if arguments.output == "json":
        _print_json(job)
    else:
        print(details(job, now_s=time.time()))
    return 0


def _retry(arguments: argparse.Namespace) -> int:
    filters = _filters(arguments)
    if bool(arguments.jobs) == bool(filters):
        message = "say which: IDs, or --state and other filters"
        raise CommandError(message, exit_code=USAGE)
    with _client(arguments) as client:
        ids = arguments.jobs or [
            job["id"] for job in client.list({"state": RETRIED, **filters}) if job["retryable"]
        ]
        return _each(ids, client.retry, arguments, done="queued anew")


def _cancel(arguments: argparse.Namespace) -> int:
    with _client(arguments) as client:
        return _each(arguments.jobs, client.cancel, arguments, done=None)


def _each(ids: list[str], call: Any, arguments: argparse.Namespace, *, done: str | None) -> int:
    """One that is refused does not keep the others from it."""
    outcomes: list[Mapping[str, Any]] = []
    refused = 0
    for job_id in ids:
        try:
            job = call(job_id)
        except JobsRefused as error:
            refused += 1
            outcomes.append({"id": job_id, "error": {"code": error.code, "message": error.message}})
            said = f"not done: {error.message}"
        else:
            outcomes.append(job)
            said = done or job["status"]
        if arguments.output == "table":
            print(f"{job_id}  {said}")
    if arguments.output == "json":
        _print_json(outcomes)
    elif not ids:
        print("There are no such jobs.")
    elif len(ids) > 1:
        print(f"{counted(len(ids) - refused, 'job')} done, {refused} not")
    return FAILED if refused else 0


def _purge(arguments: argparse.Namespace) -> int:
    with _client(arguments) as client:
        count = client.purge(_filters(arguments))
    if arguments.output == "json":
        _print_json({"purged": count})
    else:
        print(f"{counted(count, 'job')} purged")
    return 0


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
