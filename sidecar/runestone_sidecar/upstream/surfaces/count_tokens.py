"""How many tokens a Messages request would be: asked of providers that count."""

from collections.abc import Mapping
from typing import Any, Final

from runestone_sidecar.errors import BadRequest, GatewayError
from runestone_sidecar.upstream.surfaces.base import Surface, Traits
from runestone_sidecar.upstream.surfaces.messages import FORWARDED, check_conversation, needs_of
from runestone_sidecar.upstream.surfaces.messages_envelope import envelope, error_event
from runestone_sidecar.upstream.surfaces.preferences import OF_MESSAGES, preferred


class CountTokens:
    name: Final = "count_tokens"
    forwarded: Final = FORWARDED
    translator: Final = None  # a chat has no such call

    def check(self, body: Mapping[str, Any]) -> None:
        check_conversation(body)
        if body.get("stream"):
            raise BadRequest("A count cannot be streamed.", param="stream")

    def traits(self, body: Mapping[str, Any]) -> Traits:
        return Traits(
            needs=needs_of(body),
            max_output_tokens=0,
            user=None,
            prefers=preferred(body, OF_MESSAGES),
        )

    def is_native(self, capabilities: frozenset[str]) -> bool:
        return True

    def error_body(self, error: GatewayError) -> Mapping[str, Any]:
        return envelope(error)

    def error_frame(self, error: GatewayError, events: int) -> bytes:
        return error_event(error)


COUNT_TOKENS: Final[Surface] = CountTokens()
