"""What a client is told that has reached a limit: which one, how large it is, when to come back."""

import math
from collections.abc import Mapping
from typing import Final

from runestone_sidecar.admit.limits import (
    BUDGET,
    CONCURRENT_REQUESTS,
    REQUESTS_PER_HOUR,
    REQUESTS_PER_MINUTE,
    TOKENS_PER_MINUTE,
    LimitState,
    Lines,
)
from runestone_sidecar.errors import MAX_RETRY_AFTER_S, BudgetSpent, LimitReached

_MAY: Final[Mapping[str, str]] = {
    REQUESTS_PER_MINUTE: "may send {} a minute",
    REQUESTS_PER_HOUR: "may send {} an hour",
    TOKENS_PER_MINUTE: "may use {} a minute",
    CONCURRENT_REQUESTS: "may have {} running at once",
    BUDGET: "may spend {} in ",
}
_LIMITS: Final[Mapping[str, str]] = {
    REQUESTS_PER_MINUTE: "limit of requests a minute",
    REQUESTS_PER_HOUR: "limit of requests an hour",
    TOKENS_PER_MINUTE: "limit of tokens a minute",
    CONCURRENT_REQUESTS: "limit of requests at once",
    BUDGET: "budget",
}
_PERIODS: Final[Mapping[str | None, str]] = {"Hour": "an hour", "Day": "a day"}


def limit_reached(
    reached: LimitState, *, amount: int, input_alone: int, wait_s: float, lines: Lines
) -> LimitReached:
    """For a request that may need `amount`, for which there is room in `wait_s`."""
    kind = BudgetSpent if reached.kind == BUDGET else LimitReached
    never = math.isinf(wait_s)
    return kind(
        _never(reached, input_alone) if never else _not_now(reached, amount, input_alone, wait_s),
        retry_after_s=min(MAX_RETRY_AFTER_S, wait_s),
        exhausted=never or kind is BudgetSpent or wait_s > MAX_RETRY_AFTER_S,
        limit=reached.kind,
        wait_s=wait_s,
        lines=lines,
    )


def queue_full(reached: LimitReached, *, wait_s: float) -> LimitReached:
    """For a request that would have to wait for `wait_s`, and finds no place for that."""
    return _in_line(reached, "as many requests wait already as may.", wait_s)


def no_waiting(reached: LimitReached, *, wait_s: float) -> LimitReached:
    """For one whose body is still on its way, while others of its key wait."""
    return _in_line(reached, "an upload does not wait for its turn.", wait_s)


def waited_in_vain(reached: LimitReached, *, waited_s: float, wait_s: float) -> LimitReached:
    """For one that waited for as long as it may, and would for `wait_s` if it came again."""
    told = f"this request waited {_in_words(waited_s)} for its turn, as long as it may."
    return _in_line(reached, told, wait_s)


def _in_line(reached: LimitReached, told: str, wait_s: float) -> LimitReached:
    kind = BudgetSpent if reached.limit == BUDGET else LimitReached
    return kind(
        f"This API key's {_LIMITS[reached.limit]} is reached, and {told}",
        retry_after_s=min(MAX_RETRY_AFTER_S, wait_s),
        exhausted=reached.exhausted,
        limit=reached.limit,
        wait_s=wait_s,
        lines=reached.lines,
    )


def _never(reached: LimitState, input_alone: int) -> str:
    if not reached.limit:
        return f"This API key {_allowance(reached)}: a request like this one is never let in."
    return (
        f"This request is too large: this API key {_allowance(reached)}, and its input alone comes"
        f" to about {_amount(reached.kind, input_alone)}. Send less input; waiting does not help."
    )


def _not_now(reached: LimitState, amount: int, input_alone: int, wait_s: float) -> str:
    if reached.kind == CONCURRENT_REQUESTS:
        return (
            f"Too many requests at once: this API key {_allowance(reached)}. Try again when one of"
            " them has ended."
        )
    what = "Budget reached" if reached.kind == BUDGET else "Rate limit reached"
    said = f"{what}: this API key {_allowance(reached)}"
    if reached.kind in {TOKENS_PER_MINUTE, BUDGET}:
        left, wanted = _amount(reached.kind, reached.remaining), _amount(reached.kind, amount)
        said += f" and has {left} left; this request may need {wanted}"
        if 0 < input_alone < reached.remaining:  # the rest is what it might write
            return f"{said}. Allow it less output, or try again in {_in_words(wait_s)}."
    return f"{said}. Try again in {_in_words(wait_s)}."


def _allowance(state: LimitState) -> str:
    may = _MAY[state.kind].format(_amount(state.kind, state.limit))
    return may + _PERIODS.get(state.period, "30 days") if state.kind == BUDGET else may


def _amount(kind: str, count: int) -> str:
    if kind == BUDGET:
        return _dollars(count)
    return _counted(count, "token" if kind == TOKENS_PER_MINUTE else "request")


def _dollars(picodollars: int) -> str:
    whole, micro = divmod(-(-picodollars // 1_000_000), 1_000_000)
    cents, rest = divmod(micro, 10_000)
    return f"${whole:,}.{cents:02d}" + f"{rest:04d}".rstrip("0")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _in_words(seconds: float) -> str:
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds > 2 * size:
            return _counted(math.ceil(seconds / size), unit)
    return _counted(math.ceil(seconds), "second")
