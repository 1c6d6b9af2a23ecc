"""What shows that a request would rather have a capability, by the API that it is asked in."""

from typing import Any

import pytest

from runestone_operator.api.provider import Capability
from runestone_sidecar.upstream.surfaces.preferences import PREFERENCES, preferred

REASONING, PARALLEL, BOTH = ["Reasoning"], ["ParallelTools"], ["ParallelTools", "Reasoning"]
SHOWN: list[tuple[str, dict[str, Any], list[str]]] = [
    ("chat", {"reasoning_effort": "minimal"}, REASONING),
    ("chat", {"reasoning_effort": "none"}, []),
    ("chat", {"reasoning_effort": None}, []),
    ("chat", {"thinking": {"type": "enabled"}}, REASONING),
    ("chat", {"thinking": "x"}, []),
    ("chat", {"parallel_tool_calls": True}, PARALLEL),
    ("chat", {"parallel_tool_calls": False, "reasoning_effort": "low"}, BOTH),
    ("chat", {"parallel_tool_calls": None, "tools": []}, []),
    ("responses", {"reasoning": {"effort": "high"}}, REASONING),
    ("responses", {"reasoning": {"summary": "auto"}}, REASONING),
    ("responses", {"reasoning": {"effort": "none", "summary": "auto"}}, []),
    ("responses", {"reasoning": {"effort": None}}, []),
    ("responses", {"reasoning": {}}, []),
    ("responses", {"parallel_tool_calls": True}, PARALLEL),
    ("messages", {"thinking": {"type": "adaptive"}}, REASONING),
    ("messages", {"thinking": {"type": "disabled"}}, []),
    ("messages", {"output_config": {"effort": "low"}}, REASONING),
    ("messages", {"output_config": {"format": {}}}, []),
    ("messages", {"tool_choice": {"type": "auto"}}, []),
    ("messages", {"tool_choice": {"disable_parallel_tool_use": True}}, PARALLEL),
    ("count_tokens", {"thinking": {"type": "enabled", "budget_tokens": 9}}, REASONING),
]


@pytest.mark.parametrize(("surface", "body", "capabilities"), SHOWN, ids=str)
def test_what_shows_a_preference(
    surface: str, body: dict[str, Any], capabilities: list[str]
) -> None:
    assert sorted(preferred({"model": "m"} | body, PREFERENCES[surface])) == capabilities


def test_every_preference_is_a_capability() -> None:
    named = {each.capability for table in PREFERENCES.values() for each in table}
    assert named <= {capability.value for capability in Capability}
