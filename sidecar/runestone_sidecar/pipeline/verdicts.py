"""What a failed call to a provider means: the table, and nothing but the table.

A row says where the request may go next, what the failure tells of the provider's health, and
whether the credential or the whole provider is left alone for a while. `markdown` prints it.
"""

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from runestone_sidecar.admit.cooldown import Reason
from runestone_sidecar.upstream import faults
from runestone_sidecar.upstream.dialects.base import BadReply, Miswritten
from runestone_sidecar.upstream.dialects.provider_error import CONTENT_CODES, TOO_LARGE_CODE


class Verdict(Enum):
    CLIENT = "the request itself was refused: hand it on, try nowhere else"
    CREDENTIAL = "our key was refused: the provider's next credential, then another provider"
    LIMITED = "too much with this key: the next credential, this one after the pause, another one"
    RETRY = "passing trouble: this provider again after a pause, then another"
    PROVIDER = "not here, not now: another provider"


class Sign(Enum):
    """What it tells of the provider's health."""

    ALIVE = "closes a half-open breaker"
    NOTHING = "does not count"
    FAILURE = "counts as a failure"


class Scope(Enum):
    """What is left alone for a while."""

    NOTHING = "nothing"
    MODEL = "the credential, for this model"
    CREDENTIAL = "the credential"
    PROVIDER = "the provider, if it says for how long"


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    verdict: Verdict
    sign: Sign = Sign.NOTHING
    score: float | None = None  # what the health score moves towards; None: it stays
    pause: Scope = Scope.NOTHING
    reason: Reason | None = None  # of the pause


def _client(title: str) -> Row:
    return Row(title, Verdict.CLIENT, Sign.ALIVE)


def _failure(title: str, verdict: Verdict) -> Row:
    return Row(title, verdict, Sign.FAILURE, score=0.0)


def _refused(title: str, pause: Scope = Scope.CREDENTIAL) -> Row:
    return Row(title, Verdict.CREDENTIAL, pause=pause, reason=Reason.REFUSED)


def _overloaded(title: str) -> Row:
    pause, reason = Scope.PROVIDER, Reason.OVERLOADED
    return Row(title, Verdict.RETRY, Sign.FAILURE, score=0.0, pause=pause, reason=reason)


LIMITED: Final = Row(
    "429: rate limit",
    Verdict.LIMITED,
    score=0.5,
    pause=Scope.MODEL,
    reason=Reason.RATE_LIMITED,
)
LARGER_THAN_LIMIT: Final = Row("429: larger than the whole rate limit", Verdict.PROVIDER)
OUT_OF_CREDIT: Final = _refused("429 `insufficient_quota`: the account ran dry")

STATUSES: Final[Mapping[int, Row]] = {
    400: _client("400: bad request"),
    401: _refused("401: key refused"),
    402: _refused("402: the account ran dry"),
    403: _refused("403: not for this key", Scope.MODEL),
    404: _client("404: no such model"),
    405: Row("405: no such API", Verdict.PROVIDER),
    408: Row("408: request too slow", Verdict.RETRY),
    409: _client("409: conflict"),
    413: _client("413: request too large"),
    422: _client("422: request not understood"),
    425: Row("425: too early", Verdict.RETRY),
    429: LIMITED,
    501: Row("501: no such API", Verdict.PROVIDER),
    503: _overloaded("503: unavailable"),
    529: _overloaded("529: overloaded"),
}
CONTENT_REFUSED: Final = _client("any 4xx for the content: `content_filter`, …")
OTHER_4XX: Final = _client("any other 4xx")
OTHER_5XX: Final = _failure("any other 5xx", Verdict.RETRY)
OTHER_STATUS: Final = _failure("1xx, 3xx, 2xx but 200: no such API", Verdict.PROVIDER)

FAULTS: Final[Mapping[type[faults.UpstreamFault], Row]] = {
    faults.PoolExhausted: Row("our own connections are all in use", Verdict.PROVIDER),
    faults.TlsFailed: _failure("no TLS, or not who it should be", Verdict.PROVIDER),
    faults.ConnectTimeout: _failure("no connection in time", Verdict.PROVIDER),
    faults.NotConnected: _failure("no connection: refused, no such name, …", Verdict.PROVIDER),
    faults.FirstByteTimeout: _failure("no first byte in time", Verdict.PROVIDER),
    faults.IdleTimeout: _failure("silence within the answer", Verdict.PROVIDER),
    faults.TotalTimeout: _failure("took too long as a whole", Verdict.PROVIDER),
    faults.LostMidBody: _failure("connection lost within the answer", Verdict.PROVIDER),
    faults.ConnectionLost: _failure("connection lost before an answer began", Verdict.RETRY),
    faults.BadResponse: _failure("no HTTP, or HTTP of two meanings", Verdict.PROVIDER),
    faults.BodyTooLarge: Row("an answer larger than we hold", Verdict.PROVIDER),
}
HELD_UP: Final = Row("lost within the answer, after our client would not read", Verdict.PROVIDER)
STALE: Final = Row("a kept connection was gone: once more on a new one", Verdict.RETRY)
USAGE_REFUSED: Final = Row(
    "400, 422: `stream_options`, which the client did not send: once more without", Verdict.RETRY
)
OUT_OF_TIME: Final = Row(
    "our time is over while an answer comes, or a rule gave it less than 10 s", Verdict.PROVIDER
)
BAD_REPLY: Final = _failure("200, but not the answer promised", Verdict.PROVIDER)
MISWRITTEN: Final = Row(
    "200, but the model wrote what cannot be told: arguments that are no JSON, …", Verdict.PROVIDER
)
UNTRANSLATABLE: Final = Row("cannot be said in this provider's format", Verdict.PROVIDER)
UNREADABLE: Final = Row("a request nested too deeply", Verdict.CLIENT)
PASSED_OVER: Final = Row("to be left alone since it was routed to", Verdict.PROVIDER)

MAX_WAIT_S: Final = 24 * 3600.0


def row_of_status(status: int, code: str | None = None) -> Row:
    """Other 4xx judge the request; 5xx pass; anything else (a redirect, say) is no such API."""
    if status == 429 and code == "insufficient_quota":
        return OUT_OF_CREDIT
    if status == 429 and code == TOO_LARGE_CODE:
        return LARGER_THAN_LIMIT
    if 400 <= status < 500 and code in CONTENT_CODES:
        return CONTENT_REFUSED
    found = STATUSES.get(status)
    if found is not None:
        return found
    if 400 <= status < 500:
        return OTHER_4XX
    return OTHER_5XX if status >= 500 else OTHER_STATUS


def row_of_fault(fault: faults.UpstreamFault) -> Row:
    if fault.phase is faults.Phase.QUEUE:  # whatever ran out while we waited for ourselves
        return FAULTS[faults.PoolExhausted]
    if isinstance(fault, faults.LostBeforeHead):
        if fault.stale:
            return STALE
        if fault.begun:  # it was being answered, and is paid for, as one that is lost later
            return FAULTS[faults.LostMidBody]
    if isinstance(fault, faults.LostMidBody) and fault.held_up:
        return HELD_UP
    if isinstance(fault, faults.TotalTimeout) and fault.begun:
        return OUT_OF_TIME
    return next(FAULTS[kind] for kind in type(fault).__mro__ if kind in FAULTS)


def row_of_reply(bad: BadReply) -> Row:
    return MISWRITTEN if isinstance(bad, Miswritten) else BAD_REPLY


def rows() -> tuple[Row, ...]:
    """All of them, in the order of the documentation."""
    return (
        *STATUSES.values(),
        OUT_OF_CREDIT,
        LARGER_THAN_LIMIT,
        CONTENT_REFUSED,
        OTHER_4XX,
        OTHER_5XX,
        OTHER_STATUS,
        *FAULTS.values(),
        HELD_UP,
        STALE,
        USAGE_REFUSED,
        OUT_OF_TIME,
        BAD_REPLY,
        MISWRITTEN,
        UNTRANSLATABLE,
        UNREADABLE,
        PASSED_OVER,
    )


_NEXT: Final = {  # this provider again, its other credential, another provider
    Verdict.CLIENT: ("never", "never", "never"),
    Verdict.CREDENTIAL: ("no", "yes", "yes"),
    Verdict.LIMITED: ("after the pause", "yes", "yes"),
    Verdict.RETRY: ("yes", "no", "yes"),
    Verdict.PROVIDER: ("no", "no", "yes"),
}


def markdown() -> str:
    """The table as the documentation shows it."""
    head = ("what happened", "same again", "other credential", "other provider", "breaker")
    lines = [(*head, "score moves to", "left alone"), ("---",) * 7]
    for row in rows():
        score = "stays" if row.score is None else f"{row.score:g}"
        lines.append((row.title, *_NEXT[row.verdict], row.sign.value, score, row.pause.value))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def retry_after_s(after: bytes | None, after_ms: bytes | None) -> float | None:
    """Seconds a provider asked for: Retry-After-Ms, Retry-After in seconds or as an HTTP date.

    None for nonsense and for the past; never more than a day.
    """
    for text, unit in ((after_ms, 0.001), (after, 1.0)):
        if text is None:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            seconds = _seconds_until(text) if unit == 1.0 else -1.0
        if 0 <= seconds < float("inf"):
            return min(seconds, MAX_WAIT_S)
    return None


def _seconds_until(date: bytes) -> float:
    try:
        when = email.utils.parsedate_to_datetime(date.decode("latin-1"))
        return when.timestamp() - time.time()
    except (ValueError, OverflowError):
        return -1.0
