"""OpenAI's APIs that are handed on as they are: there is nothing to say in another way."""

from collections.abc import Mapping
from typing import Any, Final

from runestone_sidecar.errors import GatewayError
from runestone_sidecar.upstream.surfaces.base import (
    Traits,
    check_model,
    check_stream,
    text_or_none,
)
from runestone_sidecar.upstream.surfaces.envelope import envelope, error_frame

_NOTHING: Final[frozenset[str]] = frozenset()


class Passthrough:
    name: Final = "passthrough"
    forwarded: Final[frozenset[bytes]] = frozenset()
    translator: Final = None

    def check(self, body: Mapping[str, Any]) -> None:
        if body.get("model") is not None:  # some of these APIs have a model of their own
            check_model(body)
        check_stream(body)

    def traits(self, body: Mapping[str, Any]) -> Traits:
        """No capability says what a model for images or speech can do: the provider does."""
        return Traits(needs=_NOTHING, max_output_tokens=0, user=text_or_none(body.get("user")))

    def is_native(self, capabilities: frozenset[str]) -> bool:
        return True

    def error_body(self, error: GatewayError) -> Mapping[str, Any]:
        return envelope(error)

    def error_frame(self, error: GatewayError, events: int) -> bytes:
        return error_frame(error)


PASSTHROUGH: Final = Passthrough()
