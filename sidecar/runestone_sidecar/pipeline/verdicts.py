"""What a failed call to a provider means for the request: the table, and nothing but the table."""

import email.utils
import time
from collections.abc import Mapping
from enum import Enum
from typing import Final

from runestone_sidecar.upstream import faults


class Verdict(Enum):
    CLIENT = "the request itself was refused: hand it on, try nowhere else"
    CREDENTIAL = "our key was refused: the provider's next credential, then another provider"
    RETRY = "passing trouble: this provider again after a pause, then another"
    PROVIDER = "not here, not now: another provider"


STATUSES: Final[Mapping[int, Verdict]] = {
    400: Verdict.CLIENT,
    401: Verdict.CREDENTIAL,
    402: Verdict.PROVIDER,  # the provider's account ran dry
    403: Verdict.CREDENTIAL,
    404: Verdict.CLIENT,
    405: Verdict.PROVIDER,  # a base URL that is no such API
    408: Verdict.RETRY,
    409: Verdict.RETRY,
    413: Verdict.CLIENT,
    422: Verdict.CLIENT,
    425: Verdict.RETRY,
    429: Verdict.RETRY,
}

FAULTS: Final[Mapping[type[faults.UpstreamFault], Verdict]] = {
    faults.NotConnected: Verdict.PROVIDER,
    faults.FirstByteTimeout: Verdict.PROVIDER,
    faults.IdleTimeout: Verdict.PROVIDER,
    faults.TotalTimeout: Verdict.PROVIDER,
    faults.ConnectionLost: Verdict.RETRY,
    faults.BadResponse: Verdict.PROVIDER,
    faults.BodyTooLarge: Verdict.PROVIDER,
}

MAX_WAIT_S: Final = 24 * 3600.0


def verdict_of_status(status: int) -> Verdict:
    """Other 4xx judge the request; 5xx pass; anything else (a redirect, say) is no such API."""
    found = STATUSES.get(status)
    if found is not None:
        return found
    if 400 <= status < 500:
        return Verdict.CLIENT
    return Verdict.RETRY if status >= 500 else Verdict.PROVIDER


def verdict_of_fault(fault: faults.UpstreamFault) -> Verdict:
    return next(FAULTS[kind] for kind in type(fault).__mro__ if kind in FAULTS)


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
