"""Jobs as a person reads them: a line each, or all that is known of one."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from runestone_operator.cli.report import counted

_HEAD: Final = ("ID", "STATUS", "AGE", "TRIES", "OWNER", "TENANT", "ERROR")
_GONE: Final = "(no such key)"
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))

Job = Mapping[str, Any]


def table(jobs: Iterable[Job], *, now_s: float) -> str:
    rows = [_HEAD, *(_row(job, now_s) for job in jobs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("   ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def _row(job: Job, now_s: float) -> tuple[str, ...]:
    return (
        job["id"],
        job["status"],
        age(now_s - job["created_at"]),
        f"{job['attempts']}/{job['max_attempts']}",
        job["api_key"] or _GONE,
        job["tenant"] or "-",
        job["error"]["code"] if job["error"] else "-",
    )


def details(job: Job, *, now_s: float) -> str:
    lines = [*_details(job, now_s)]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name + ':':{width + 1}} {text}" for name, text in lines)


def _details(job: Job, now_s: float) -> Iterator[tuple[str, str]]:
    yield "ID", job["id"]
    yield "Status", job["status"]
    if "api_key" in job:
        yield "Owner", job["api_key"] or _GONE
        yield "Tenant", job["tenant"] or "-"
    yield "Created", _moment(job["created_at"], now_s)
    if job.get("expires_at"):
        yield "Expires", _moment(job["expires_at"], now_s)
    if job["finished_at"]:
        yield "Ended", _moment(job["finished_at"], now_s)
    most = f" of {job['max_attempts']}" if "max_attempts" in job else ""
    yield "Attempts", f"{job['attempts']}{most}"
    if job.get("retries"):
        yield "Tried anew", counted(job["retries"], "time")
    if job["error"]:
        yield "Error", f"{job['error']['code']}: {job['error']['message']}"
    if job.get("retryable"):
        yield "Next", f"runestone jobs retry {job['id']}"


def _moment(at_s: int, now_s: float) -> str:
    stamp = datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    away_s = at_s - now_s
    return f"{stamp} ({f'in {age(away_s)}' if away_s > 0 else f'{age(-away_s)} ago'})"


def age(seconds: float) -> str:
    """Its two largest units: 45s, 3m12s, 5h, 2d4h."""
    left, parts = max(0, int(seconds)), list[str]()
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return "".join(parts) or "0s"
