"""What becomes of each field of an OpenAI chat request on its way to Anthropic's Messages API.

The table is the documentation and the tests' parameters. The rule behind it: what only tunes cost,
speed or quality is dropped where it has no counterpart; what a client's code relies on (choices,
logprobs, audio) is refused, since an answer without it would look like a success. A field that is
in nobody's table is refused too, as OpenAI itself does: a 400 that names it can be acted on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from runestone_sidecar.upstream.dialects.base import Untranslatable


class Fate(Enum):
    CARRIED = "carried"
    DROPPED = "dropped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Field:
    fate: Fate
    reason: str
    neutral: tuple[Any, ...] = ()  # values of a refused field that ask for nothing


def _carried(how: str) -> Field:
    return Field(Fate.CARRIED, how)


def _dropped(why: str) -> Field:
    return Field(Fate.DROPPED, why)


def _refused(why: str, *neutral: Any) -> Field:
    return Field(Fate.REFUSED, why, neutral)


FIELDS: Final[Mapping[str, Field]] = {
    "model": _carried("the provider's name for it"),
    "messages": _carried("system and developer messages become `system`, in order"),
    "max_tokens": _carried("as max_completion_tokens, which wins"),
    "max_completion_tokens": _carried(
        "max_tokens, at most the model's limit; that limit, else 4096, where none was sent"
    ),
    "stream": _carried("as it is"),
    "stream_options": _carried("include_usage is ours to do; the rest asks for nothing here"),
    "temperature": _carried(
        "clamped to 0..1; dropped while thinking and by models that sample by themselves (4.7 on)"
    ),
    "top_p": _carried("like temperature, which wins where a model takes only one (4.1 on)"),
    "stop": _carried("stop_sequences, less those of white space only, which are refused there"),
    "tools": _carried("name, description and parameters; strict is dropped, its limits differ"),
    "tool_choice": _carried(
        "auto, none, required -> any, named -> tool, allowed_tools -> fewer tools"
    ),
    "parallel_tool_calls": _carried("false -> disable_parallel_tool_use"),
    "response_format": _carried(
        "json_schema -> output_config.format (4.5 on), else a forced tool, as for json_object"
    ),
    "reasoning_effort": _carried("output_config.effort and adaptive thinking (4.6 on) or a budget"),
    "user": _carried("metadata.user_id"),
    "safety_identifier": _carried("metadata.user_id; wins over user, which it replaces at OpenAI"),
    "service_tier": _carried("auto, priority, fast, scale -> auto; default, flex -> standard_only"),
    "thinking": _carried("Anthropic's own field, as it is; wins over reasoning_effort"),
    "top_k": _carried("Anthropic's own field, where the model takes sampling parameters"),
    "cache_control": _carried("Anthropic's own field, as it is"),
    "frequency_penalty": _dropped("no counterpart; tunes the style only"),
    "presence_penalty": _dropped("no counterpart; tunes the style only"),
    "seed": _dropped("no counterpart; best effort at OpenAI too"),
    "verbosity": _dropped("no counterpart; tunes the length only"),
    "prediction": _dropped("no counterpart; tunes the speed only"),
    "prompt_cache_key": _dropped("no counterpart; tunes the cost only"),
    "prompt_cache_options": _dropped("cache_control on parts is what this provider understands"),
    "prompt_cache_retention": _dropped("cache_control on parts is what this provider understands"),
    "store": _dropped("nothing is stored at this provider"),
    "metadata": _dropped("labels stored completions, and nothing is stored at this provider"),
    "n": _refused("This model gives one choice a request; `n` must be 1.", 1),
    "logprobs": _refused("This model does not give log probabilities.", False),
    "top_logprobs": _refused("This model does not give log probabilities.", 0),
    "logit_bias": _refused("This model's tokens cannot be biased.", {}),
    "modalities": _refused("This model answers in text only.", ["text"], []),
    "audio": _refused("This model does not speak."),
    "web_search_options": _refused("This model does not search the web here."),
    "moderation": _refused("This model's provider does not moderate on request."),
    "functions": _refused("`functions` is deprecated and not supported here; use `tools`.", []),
    "function_call": _refused(
        "`function_call` is deprecated and not supported here; use `tool_choice`."
    ),
}


def check_fields(body: Mapping[str, Any]) -> None:
    """Raises Untranslatable for the first field that may not be left out. A null is no setting."""
    for name, value in body.items():
        if value is None:
            continue
        field = FIELDS.get(name)
        if field is None:
            raise Untranslatable("This field is not known for this model.", param=name)
        if field.fate is Fate.REFUSED and value not in field.neutral:
            raise Untranslatable(field.reason, param=name)
