"""What a request would rather have than do without: by it models are put in order, none left out.

A model that states its capabilities and not these goes last where it is asked in the client's own
API, since its provider would most likely refuse the field. It is no need: a translation drops what
a model cannot do, and vendors of other models mostly ignore it. The tables are the documentation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Preference:
    field: str
    capability: str
    how: str  # such a value shows it, in words
    shows: Callable[[Any], bool]


def _effort(value: Any) -> bool:
    return value is not None and value != "none"


def _reasoning(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("effort") == "none":
        return False
    return any(setting is not None for setting in value.values())


def _thinking(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") not in (None, "disabled")


def _output(value: Any) -> bool:
    return isinstance(value, dict) and value.get("effort") is not None


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _choice(value: Any) -> bool:
    return isinstance(value, dict) and _flag(value.get("disable_parallel_tool_use"))


# True or false: OpenAI's models that call one tool at a time refuse the field.
_PARALLEL: Final = Preference("parallel_tool_calls", "ParallelTools", "true or false", _flag)
_THINKING: Final = Preference("thinking", "Reasoning", "any type but disabled", _thinking)

OF_CHAT: Final = (
    Preference("reasoning_effort", "Reasoning", "any but none", _effort),
    _THINKING,
    _PARALLEL,
)
OF_RESPONSES: Final = (
    Preference("reasoning", "Reasoning", "any setting, but for an effort of none", _reasoning),
    _PARALLEL,
)
OF_MESSAGES: Final = (
    _THINKING,
    Preference("output_config", "Reasoning", "an effort", _output),
    Preference("tool_choice", "ParallelTools", "disable_parallel_tool_use, either way", _choice),
)
PREFERENCES: Final[Mapping[str, tuple[Preference, ...]]] = {  # by the name of the surface
    "chat": OF_CHAT,
    "responses": OF_RESPONSES,
    "messages": OF_MESSAGES,
    "count_tokens": OF_MESSAGES,
}

NOTHING: Final[frozenset[str]] = frozenset()


def preferred(body: Mapping[str, Any], table: tuple[Preference, ...]) -> frozenset[str]:
    """Capabilities."""
    found = NOTHING
    for each in table:
        if each.field in body and each.shows(body[each.field]):
            found |= {each.capability}
    return found
