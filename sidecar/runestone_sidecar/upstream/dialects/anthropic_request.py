"""An OpenAI chat request as the body of Anthropic's `POST /v1/messages`.

`anthropic_fields.FIELDS` says what becomes of each field; here is how.
"""

from collections.abc import Mapping
from typing import Any, Final

from runestone_sidecar.upstream.dialects.anthropic_fields import FIELDS
from runestone_sidecar.upstream.dialects.anthropic_messages import (
    Block,
    conversation,
    tool_names,
)
from runestone_sidecar.upstream.dialects.anthropic_models import Sampling, generation_of
from runestone_sidecar.upstream.dialects.anthropic_thinking import budget_of, thinking_of
from runestone_sidecar.upstream.dialects.anthropic_tools import tooling_of
from runestone_sidecar.upstream.dialects.base import ModelTarget, Request, Untranslatable
from runestone_sidecar.upstream.dialects.fields import check_fields
from runestone_sidecar.upstream.dialects.user_id import user_id_of

_DEFAULT_MAX_TOKENS: Final = 4_096
_DEFAULT_SAMPLING: Final = 1  # of both temperature and top_p, at both providers
_SERVICE_TIERS: Final = {
    "auto": "auto",
    "priority": "auto",
    "fast": "auto",
    "scale": "auto",
    "default": "standard_only",
    "flex": "standard_only",
}


def messages_request(request: Request, target: ModelTarget) -> dict[str, Any]:
    """Raises Untranslatable."""
    body = request.body
    check_fields(body, FIELDS)
    generation = generation_of(target.upstream)
    system, turns = conversation(body.get("messages"))
    max_tokens = _max_tokens(body, target)
    tooling = tooling_of(body, tool_names(turns), generation)
    plan = thinking_of(
        body, generation, turns, max_tokens=max_tokens, forces_a_call=tooling.forces_a_call
    )
    output = {"effort": plan.effort, "format": tooling.output_format}
    sampling = Sampling.NONE if plan.is_on else generation.sampling
    fields = {
        "model": target.upstream,
        "max_tokens": max_tokens,
        "system": _system(system),
        "messages": turns,
        "tools": tooling.tools,
        "tool_choice": tooling.choice,
        "thinking": plan.thinking,
        "output_config": {name: value for name, value in output.items() if value is not None},
        **_sampling(body, sampling),
        "stop_sequences": _stop_sequences(body.get("stop")),
        "metadata": _metadata(body),
        "service_tier": _service_tier(body.get("service_tier")),
        "cache_control": body.get("cache_control"),
        "stream": True if request.stream else None,
    }
    return {
        name: value
        for name, value in fields.items()
        if value is not None and value not in ("", [], {})
    }


def _max_tokens(body: Mapping[str, Any], target: ModelTarget) -> int:
    limit = target.max_output_tokens
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise Untranslatable("This must be a positive integer.", param=name)
        return value if limit is None else min(value, limit)
    # Thinking counts as well, and its budget must be less.
    return limit or _DEFAULT_MAX_TOKENS + budget_of(body)


def _system(blocks: list[Block]) -> str | list[Block]:
    if any(len(block) > 2 for block in blocks):  # more than a type and a text: cache_control
        return blocks
    return "\n".join(block["text"] for block in blocks)


def _sampling(body: Mapping[str, Any], sampling: Sampling) -> dict[str, Any]:
    temperature = _number(body, "temperature")
    top_p = _number(body, "top_p")
    if sampling is Sampling.NONE:
        return {}
    if temperature is not None and top_p is not None and sampling is Sampling.EITHER:
        if temperature == _DEFAULT_SAMPLING:
            temperature = None
        else:
            top_p = None
    return {
        "temperature": None if temperature is None else min(max(temperature, 0), 1),
        "top_p": None if top_p is None else min(max(top_p, 0), 1),
        "top_k": body.get("top_k"),
    }


def _number(body: Mapping[str, Any], name: str) -> int | float | None:
    value = body.get(name)
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise Untranslatable("This must be a number.", param=name)
    return value


def _stop_sequences(stop: Any) -> list[str]:
    sequences = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(sequences, list) or not all(isinstance(text, str) for text in sequences):
        raise Untranslatable("This must be a string or an array of strings.", param="stop")
    return [text for text in sequences if text.strip()]


def _metadata(body: Mapping[str, Any]) -> dict[str, str]:
    for name in ("safety_identifier", "user"):
        user = body.get(name)
        if user is None:
            continue
        if not isinstance(user, str):
            raise Untranslatable("This must be a string.", param=name)
        if user:
            return {"user_id": user_id_of(user)}
    return {}


def _service_tier(tier: Any) -> str | None:
    if tier is None:
        return None
    if not isinstance(tier, str) or tier not in _SERVICE_TIERS:
        raise Untranslatable("This service tier is not known.", param="service_tier")
    return _SERVICE_TIERS[tier]
