"""OpenAI's embeddings. There is no saying them through a chat: only a model that makes them can."""

from collections.abc import Mapping
from typing import Any, Final

from runestone_sidecar.errors import BadRequest, GatewayError
from runestone_sidecar.upstream.surfaces.base import (
    Traits,
    check_counts,
    check_kinds,
    check_model,
    count_inputs,
    text_or_none,
)
from runestone_sidecar.upstream.surfaces.envelope import envelope, error_frame

_NEEDS: Final = frozenset({"Embeddings"})


class Embeddings:
    name: Final = "embeddings"
    forwarded: Final[frozenset[bytes]] = frozenset()
    translator: Final = None

    def check(self, body: Mapping[str, Any]) -> None:
        check_model(body)
        _check_input(body.get("input"))
        check_counts(body, "dimensions")
        check_kinds(body, ("encoding_format", str, "a string"))
        if body.get("stream"):
            raise BadRequest("Embeddings are not streamed.", param="stream")

    def traits(self, body: Mapping[str, Any]) -> Traits:
        return Traits(
            needs=_NEEDS,
            max_output_tokens=0,
            user=text_or_none(body.get("user")),
            windows=count_inputs(body.get("input")),
        )

    def is_native(self, capabilities: frozenset[str]) -> bool:
        return True

    def error_body(self, error: GatewayError) -> Mapping[str, Any]:
        return envelope(error)

    def error_frame(self, error: GatewayError, events: int) -> bytes:
        return error_frame(error)


EMBEDDINGS: Final = Embeddings()


def _check_input(given: Any) -> None:
    """Text, tokens, or several of either; what is in a list is the provider's to judge."""
    if not isinstance(given, str | list) or not given:
        raise BadRequest(
            "'input' must be a text, an array of tokens, or an array of either.", param="input"
        )
