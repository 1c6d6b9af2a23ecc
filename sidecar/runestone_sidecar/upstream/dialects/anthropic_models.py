"""What a generation of Claude models accepts, read from the provider's name for the model.

The Messages API is one format, but its models differ in which fields they answer with a 400. The
facts are those of platform.claude.com (thinking, effort, structured outputs, the migration guides)
of November 2026, for `anthropic-version: 2023-06-01`.
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final


class Thinking(Enum):
    NONE = "none"  # the model cannot
    BUDGET = "budget"  # `{"type": "enabled", "budget_tokens": n}`, off unless asked for
    ADAPTIVE = "adaptive"  # `{"type": "adaptive"}`, how hard by `output_config.effort`


class ThinkingOff(Enum):
    """What turns thinking off."""

    OMIT = "omit"  # it is off unless asked for
    DISABLED = "disabled"
    BETWEEN_TOOLS = "between_tools"
    NEVER = "never"  # nothing does


class Sampling(Enum):
    BOTH = "both"  # temperature and top_p
    EITHER = "either"  # one of them; both together are a 400
    NONE = "none"  # any value but the default is a 400


@dataclass(frozen=True, slots=True)
class Generation:
    thinking: Thinking
    thinking_off: ThinkingOff = ThinkingOff.OMIT
    thinking_display: bool = False  # thinking comes back empty unless `display` asks for it
    efforts: frozenset[str] = frozenset()
    sampling: Sampling = Sampling.NONE
    output_format: bool = True  # `output_config.format`
    forced_tools: bool = True  # `tool_choice` of `any` or `tool`


_EFFORTS: Final = frozenset({"low", "medium", "high", "max"})
_ALL_EFFORTS: Final = _EFFORTS | {"xhigh"}


def _adaptive(off: ThinkingOff, *, forced_tools: bool = True) -> Generation:
    return Generation(
        Thinking.ADAPTIVE,
        thinking_off=off,
        thinking_display=True,
        efforts=_ALL_EFFORTS,
        forced_tools=forced_tools,
    )


_Version = tuple[int, int]

# The first row that fits counts: a family (or any), from this version on.
_GENERATIONS: Final[tuple[tuple[frozenset[str] | None, _Version, Generation], ...]] = (
    (frozenset({"haiku"}), (5, 0), _adaptive(ThinkingOff.DISABLED)),
    (frozenset({"sonnet"}), (5, 1), _adaptive(ThinkingOff.BETWEEN_TOOLS, forced_tools=False)),
    (None, (5, 1), _adaptive(ThinkingOff.NEVER, forced_tools=False)),
    (frozenset({"fable", "mythos"}), (5, 0), _adaptive(ThinkingOff.NEVER)),
    (None, (5, 0), _adaptive(ThinkingOff.DISABLED)),
    (None, (4, 7), _adaptive(ThinkingOff.OMIT)),
    (None, (4, 6), Generation(Thinking.ADAPTIVE, efforts=_EFFORTS, sampling=Sampling.EITHER)),
    (None, (4, 5), Generation(Thinking.BUDGET, sampling=Sampling.EITHER)),
    (None, (4, 1), Generation(Thinking.BUDGET, sampling=Sampling.EITHER, output_format=False)),
    (None, (3, 7), Generation(Thinking.BUDGET, sampling=Sampling.BOTH, output_format=False)),
    (None, (0, 0), Generation(Thinking.NONE, sampling=Sampling.BOTH, output_format=False)),
)
# Other vendors' models behind this format: what most of them take.
_UNKNOWN: Final = Generation(Thinking.BUDGET, sampling=Sampling.BOTH, output_format=False)

# claude-3-5-sonnet-20241022 | claude-sonnet-4-20250514 | us.anthropic.claude-opus-4-5-20251101-v1:0
_NAME: Final = re.compile(
    r"claude-(?:(?P<old>\d)(?:[-.](?P<old_minor>\d))?-)?(?P<family>opus|sonnet|haiku|fable|mythos)"
    r"(?:-(?P<major>\d{1,2})(?!\d)(?:[-.](?P<minor>\d{1,2})(?!\d))?)?"
)


_LATEST: Final = "99"  # of a name without a version, such as claude-sonnet-latest


@lru_cache(maxsize=1024)
def generation_of(upstream: str) -> Generation:
    name = _NAME.search(upstream.lower())
    if name is None:
        return _UNKNOWN
    major = name["old"] or name["major"] or _LATEST
    minor = name["old_minor"] if name["old"] else name["minor"]
    version = int(major), int(minor or 0)
    return next(
        generation
        for families, since, generation in _GENERATIONS
        if version >= since and (families is None or name["family"] in families)
    )
