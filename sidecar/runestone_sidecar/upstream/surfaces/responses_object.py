"""The Response object: who it is, how it ended, what was asked, what it took."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runestone_sidecar.upstream.dialects.base import Request
from runestone_sidecar.upstream.surfaces.finish_reasons import (
    CONTENT_FILTER,
    LENGTH,
    finish_reason_of,
)

_Json = dict[str, Any]

COMPLETED: Final = "completed"
INCOMPLETE: Final = "incomplete"

# Why a chat ended -> why a response is incomplete; what is not here, is complete
_INCOMPLETE: Final[Mapping[str, str]] = {
    LENGTH: "max_output_tokens",
    CONTENT_FILTER: "content_filter",
}


@dataclass(frozen=True, slots=True)
class Ending:
    incomplete_reason: str | None

    @property
    def status(self) -> str:
        return COMPLETED if self.incomplete_reason is None else INCOMPLETE


def ending_of(finish_reason: Any) -> Ending:
    """Raises BadReply where the chat gave none: a completion is never invented."""
    return Ending(_INCOMPLETE.get(finish_reason_of(finish_reason)))


class Ids:
    """Ids as OpenAI's look, which its own models would take back in a later conversation."""

    __slots__ = ("_stem", "response")

    def __init__(self, request: Request, chat_id: Any) -> None:
        # Clients choose request ids and vendors count small numbers: both together tell apart.
        chat_id = chat_id if isinstance(chat_id, str) else ""
        digest = hashlib.sha256(f"{request.request_id} {chat_id}".encode())
        self._stem = digest.hexdigest()[:40]
        self.response = f"resp_{self._stem}"

    def item(self, prefix: str, index: int) -> str:
        return f"{prefix}_{self._stem}{index:04x}"


def response_object(
    request: Request,
    ids: Ids,
    output: list[_Json],
    *,
    ending: Ending | None,
    chat: Mapping[str, Any],
) -> _Json:
    """`ending`: None while it is in progress. `chat`: what the chat told besides its message."""
    reason = ending.incomplete_reason if ending else None
    tier = chat.get("service_tier")
    response: _Json = {
        "id": ids.response,
        "object": "response",
        "created_at": request.created_s,
        "status": ending.status if ending else "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": request.model,
        "output": output,
        "service_tier": tier if isinstance(tier, str) else None,
        **_echo(request.body),
    }
    if (usage := _usage(chat.get("usage"))) is not None:
        response["usage"] = usage
    return response


_ECHOED: Final[Mapping[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": None,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
}


def _echo(body: Mapping[str, Any]) -> _Json:
    """The settings of the request, which OpenAI repeats; what was left out has its default, or
    null where only the provider knows it."""
    echo: _Json = {
        name: default if body.get(name) is None else body[name] for name, default in _ECHOED.items()
    }
    echo["previous_response_id"] = None
    echo["store"] = False  # whatever was asked for
    echo["text"] = {"format": {"type": "text"}, **_set(body.get("text"))}
    echo["reasoning"] = {"effort": None, "summary": None, **_set(body.get("reasoning"))}
    echo["tools"] = [
        {"parameters": None, "strict": False, **_set(tool)} for tool in body.get("tools") or ()
    ]
    if body.get("user") is not None:
        echo["user"] = body["user"]
    return echo


def _set(settings: Any) -> _Json:
    return {name: value for name, value in (settings or {}).items() if value is not None}


def _usage(usage: Any) -> _Json | None:
    if not isinstance(usage, dict):
        return None
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(read, int) or not isinstance(written, int):
        return None
    return {
        "input_tokens": read,
        "input_tokens_details": {
            "cached_tokens": _detail(usage, "prompt_tokens_details", "cached_tokens"),
            "cache_write_tokens": _detail(usage, "prompt_tokens_details", "cache_write_tokens"),
        },
        "output_tokens": written,
        "output_tokens_details": {
            "reasoning_tokens": _detail(usage, "completion_tokens_details", "reasoning_tokens"),
        },
        "total_tokens": read + written,
    }


def _detail(usage: Mapping[str, Any], details: str, name: str) -> int:
    counts = usage.get(details)
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) else 0
