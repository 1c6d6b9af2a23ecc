"""A provider that speaks Anthropic's APIs: they pass through, and a chat in OpenAI's format is said
as a Messages request.
"""

from collections.abc import Mapping
from typing import Final

import orjson

from runestone_sidecar.upstream.dialects.anthropic_native import (
    PATH,
    VERSION,
    CountTokens,
    Messages,
)
from runestone_sidecar.upstream.dialects.anthropic_reply import read_message
from runestone_sidecar.upstream.dialects.anthropic_request import messages_request
from runestone_sidecar.upstream.dialects.anthropic_stream import AnthropicStream
from runestone_sidecar.upstream.dialects.base import (
    Codec,
    ModelTarget,
    ProviderError,
    Rendered,
    Reply,
    Request,
    Untranslatable,
)
from runestone_sidecar.upstream.dialects.provider_error import read_error


class MessagesFromChat:
    """A chat as a Messages request."""

    def render(self, request: Request, target: ModelTarget) -> Rendered:
        try:
            body = orjson.dumps(messages_request(request, target))
        except orjson.JSONEncodeError:
            # What was decoded can be encoded, unless it is nested deeper than the encoder goes.
            raise Untranslatable("The request is nested too deeply.") from None
        return Rendered(path=PATH, body=body, headers=VERSION)

    def read(self, request: Request, body: bytes) -> Reply:
        return read_message(request, body)

    def stream(self, request: Request) -> AnthropicStream:
        return AnthropicStream(request)


class Anthropic:
    chat: Final = MessagesFromChat()
    native: Final[Mapping[str, Codec]] = {
        "messages": Messages(),
        "count_tokens": CountTokens(),
    }
    models_path: Final = b"/v1/models"
    version: Final = VERSION

    def auth_headers(self, credential: str | None) -> tuple[tuple[bytes, bytes], ...]:
        return () if credential is None else ((b"x-api-key", credential.encode()),)

    def read_error(self, status: int, body: bytes) -> ProviderError:
        return read_error(status, body)
