"""What a chat was refused with, in the words of the API that the chat was said for.

A client that spoke another API did not write the chat: it is told of its own field, or of none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runestone_sidecar.errors import GatewayError, ProviderRefused, UpstreamFailed
from runestone_sidecar.upstream.dialects.base import ProviderError
from runestone_sidecar.upstream.dialects.provider_error import (
    ANTHROPIC_PATHS,
    CONTENT_CODES,
    leading_path,
)

_path: Final = re.compile(r"(\w+?)(?:\.?\[(\d+)\]|\.(\d+))?(?:\.([^.\d].*))?").fullmatch
_AS_A_CHAT: Final = "The provider was asked this as a chat, and refused it: "
_is_status: Final = re.compile(r"[45]\d\d", re.ASCII).fullmatch
_OF_OUR_KEY: Final = frozenset({401, 402, 403})

# Of errors inside a stream, which have no status: the `code`, else the `type` -> what it would be
STATUSES: Final[Mapping[str, int]] = {
    **dict.fromkeys(CONTENT_CODES, 400),
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "insufficient_quota": 402,
    "billing_error": 402,
    "permission_denied": 403,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found": 404,
    "not_found_error": 404,
    "conflict": 409,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "invalid_request_error": 400,
    "timeout": 504,
    "timeout_error": 504,
    "overloaded": 529,
    "overloaded_error": 529,
    "service_unavailable": 529,
}


@dataclass(frozen=True, slots=True)
class Place:
    """`messages[2].content`, in any of the ways that vendors write it."""

    field: str
    index: int | None = None
    rest: str = ""


def place_of(param: str) -> Place | None:
    """None: it is no path."""
    found = _path(param)
    if found is None:
        return None
    field, bracketed, dotted, rest = found.groups()
    index = bracketed if bracketed is not None else dotted
    return Place(field, None if index is None else int(index), rest or "")


def own_name(names: tuple[str, ...], body: Mapping[str, Any]) -> str:
    """The first of a field's names that the request has; it may have it by default."""
    return next((name for name in names if _has(body, name)), names[0])


def within_tool(place: Place, tails: Mapping[str, str]) -> str:
    """A path below `tools`, whose order is that of the chat's, and what is in one by `tails`."""
    if place.index is None:
        return "tools"
    name = f"tools[{place.index}]"
    for theirs, ours in tails.items():
        if place.rest == theirs or place.rest.startswith((f"{theirs}.", f"{theirs}[")):
            return f"{name}.{ours}"
    return name


def reworded(message: str, theirs: str, ours: str | None) -> str:
    """The provider's text, naming the client's field instead of the chat's."""
    path = leading_path(message)
    if path and path[1] != ours and ANTHROPIC_PATHS.get(path[1]) == theirs:
        return _AS_A_CHAT + message if ours is None else ours + message[path.end() :]
    if ours == theirs:
        return message
    named = _as_named(theirs)
    if ours is not None:
        return named.sub(lambda found: found[0].replace(theirs, ours), message)
    return _AS_A_CHAT + message if named.search(message) else message


def error_within(told: ProviderError) -> GatewayError:
    """What a provider reported inside a stream that is translated.

    What ails the gateway's own key is nothing that a client could mend, as it is outside of one.
    """
    status = _status_of(told)
    if status in _OF_OUR_KEY:
        return UpstreamFailed("The provider failed within its answer.")
    return ProviderRefused(
        told.message,
        param=told.param,
        code=told.code or ("upstream_error" if status >= 500 else None),
        provider_status=status,
        provider_type=told.type,
    )


def _status_of(told: ProviderError) -> int:
    for name in filter(None, (told.code, told.type)):
        if name in STATUSES:
            return STATUSES[name]
        if _is_status(name):
            return int(name)  # some vendors give it as the code
    return 500


def _as_named(param: str) -> re.Pattern[str]:
    """Where a text means the field: a plain word is one only in quotes."""
    if param.isalpha():
        return re.compile(f"""(['"`]){re.escape(param)}\\1""")
    return re.compile(rf"(?<![\w.\[]){re.escape(param)}(?!\w|\.\w|\[)")


def _has(body: Mapping[str, Any], name: str) -> bool:
    """Whether there is something at a dotted name."""
    found: Any = body
    for step in name.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found is not None
