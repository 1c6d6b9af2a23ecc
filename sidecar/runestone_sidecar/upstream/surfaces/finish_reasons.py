"""Why a chat ended, in the words of all vendors.

OpenAI's words are a few, and vendors have more of their own for a reply that is whole (`eos`, say):
what is not known is `stop`. None at all is another matter: then nobody said that it is whole.
"""

from typing import Any, Final

from runestone_sidecar.upstream.dialects.base import BadReply

STOP: Final = "stop"
LENGTH: Final = "length"
CONTENT_FILTER: Final = "content_filter"

_CUT: Final = {
    LENGTH: LENGTH,
    "model_length": LENGTH,  # Mistral
    CONTENT_FILTER: CONTENT_FILTER,
}
_FAILURES: Final = frozenset({"error", "insufficient_system_resource"})  # OpenRouter, DeepSeek


def finish_reason_of(given: Any) -> str:
    """STOP, LENGTH or CONTENT_FILTER. Raises BadReply where the chat has not ended, or failed."""
    if not isinstance(given, str) or not given:
        raise BadReply("the reply has no finish reason")
    if given in _FAILURES:
        raise BadReply("the provider failed within the reply")
    return _CUT.get(given, STOP)
