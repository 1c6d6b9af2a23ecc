"""A Messages request as an OpenAI chat; `messages_fields` says what becomes of each field."""

from collections.abc import Mapping
from typing import Any, Final

from runestone_sidecar.upstream.dialects.base import Missing, Request, Untranslatable
from runestone_sidecar.upstream.dialects.fields import check_fields
from runestone_sidecar.upstream.dialects.user_id import user_id_of
from runestone_sidecar.upstream.surfaces.messages_fields import FIELDS
from runestone_sidecar.upstream.surfaces.messages_tools import (
    choice_of,
    response_format_of,
    tools_of,
)
from runestone_sidecar.upstream.surfaces.messages_turns import chat_messages

# `thinking.budget_tokens` up to which an effort is meant, the inverse of what a chat's effort
# becomes at Anthropic
_EFFORT_UP_TO_TOKENS: Final = ((4_096, "low"), (12_288, "medium"))
_EFFORTS: Final = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
_THINKING: Final = frozenset({"enabled", "adaptive", "disabled", "between_tools"})


def to_chat(request: Request) -> Request:
    """Raises Untranslatable."""
    body = request.body
    _check_thread(body.get("thread"))
    check_fields(body, FIELDS)
    output = _object(body, "output_config")
    tools = tools_of(body.get("tools"))
    wanted, param = output.get("format"), "output_config.format"
    if wanted is None:
        wanted, param = body.get("output_format"), "output_format"
    fields = {
        "model": body["model"],
        "messages": chat_messages(body),
        "max_completion_tokens": _max_tokens(body),
        "temperature": _number(body, "temperature"),
        "top_p": _number(body, "top_p"),
        "stop": _stop(body.get("stop_sequences")),
        "tools": tools,
        **choice_of(body.get("tool_choice"), tools),
        "response_format": response_format_of(wanted, param),
        "reasoning_effort": _effort(body, output),
        "user": _user(body),
        "service_tier": _service_tier(body.get("service_tier")),
        "stream": True if request.stream else None,
        "stream_options": {"include_usage": True} if request.stream else None,
    }
    return Request(
        body={name: value for name, value in fields.items() if value is not None and value != []},
        model=request.model,
        stream=request.stream,
        request_id=request.request_id,
        created_s=request.created_s,
    )


def _check_thread(thread: Any) -> None:
    """Anthropic's SDK asks for one unasked, and by these details knows to do without."""
    if thread is None:
        return
    reason = FIELDS["thread"].reason
    if isinstance(thread, dict) and thread.get("type") == "continue":
        raise Missing(reason, "thread", {"error_code": "thread_not_found"})
    details = {"error_code": "thread_unsupported_request", "unsupported": ["model"]}
    raise Untranslatable(reason, "thread", details)


def _max_tokens(body: Mapping[str, Any]) -> int:
    limit: int = body["max_tokens"]
    if limit == 0:
        message = "This model's provider has no cache to be filled without a reply."
        raise Untranslatable(message, param="max_tokens")
    return limit


def _number(body: Mapping[str, Any], name: str) -> int | float | None:
    value = body.get(name)
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise Untranslatable("This must be a number.", param=name)
    return value


def _stop(sequences: Any) -> list[str]:
    if sequences is None:
        return []
    if not isinstance(sequences, list) or not all(isinstance(text, str) for text in sequences):
        raise Untranslatable("This must be an array of strings.", param="stop_sequences")
    return sequences


def _effort(body: Mapping[str, Any], output: Mapping[str, Any]) -> str | None:
    effort = output.get("effort")
    if effort is not None and (not isinstance(effort, str) or effort not in _EFFORTS):
        raise Untranslatable("This effort is not known.", param="output_config.effort")
    thinking = _object(body, "thinking")
    kind = thinking.get("type")
    if thinking and (not isinstance(kind, str) or kind not in _THINKING):
        raise Untranslatable("This way of thinking is not known.", param="thinking.type")
    if kind in ("disabled", "between_tools"):
        return None
    if effort is not None:
        return _EFFORTS[effort]
    if kind != "enabled":
        return None
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or isinstance(budget, bool):
        raise Untranslatable("This must be an integer.", param="thinking.budget_tokens")
    return next((name for tokens, name in _EFFORT_UP_TO_TOKENS if budget <= tokens), "high")


def _user(body: Mapping[str, Any]) -> str | None:
    user = _object(body, "metadata").get("user_id")
    if user is None:
        return None
    if not isinstance(user, str):
        raise Untranslatable("This must be a string.", param="metadata.user_id")
    return user_id_of(user)


def _service_tier(tier: Any) -> str | None:
    if tier in (None, "auto"):
        return None
    if tier != "standard_only":
        raise Untranslatable("This service tier is not known.", param="service_tier")
    return "default"


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Untranslatable("This must be an object.", param=name)
    return value
