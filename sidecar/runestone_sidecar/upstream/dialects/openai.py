"""OpenAI's formats to a provider that speaks them: bytes pass unchanged, a tap looks on.

A vendor that speaks them is a row of configuration, not a change here.
"""

from collections.abc import Mapping
from typing import Final

import orjson

from runestone_sidecar.upstream.dialects.base import (
    AsksUsage,
    BadReply,
    Codec,
    ModelTarget,
    ProviderError,
    Rendered,
    Reply,
    Request,
    Untranslatable,
)
from runestone_sidecar.upstream.dialects.exact_json import decoded
from runestone_sidecar.upstream.dialects.openai_attachments import attachments_apart
from runestone_sidecar.upstream.dialects.openai_body import read_usage
from runestone_sidecar.upstream.dialects.openai_completions import Completions
from runestone_sidecar.upstream.dialects.openai_embeddings import Embeddings
from runestone_sidecar.upstream.dialects.openai_passthrough import Passthrough
from runestone_sidecar.upstream.dialects.openai_responses import Responses
from runestone_sidecar.upstream.dialects.openai_stream import OpenAIStream
from runestone_sidecar.upstream.dialects.openai_translated import fitted
from runestone_sidecar.upstream.dialects.openai_usage_stream import stream_of
from runestone_sidecar.upstream.dialects.provider_error import read_error
from runestone_sidecar.upstream.dialects.splice import body_with_model

_GATEWAY: Final = AsksUsage.GATEWAY  # an Enum's own look-up is dear
_CHAT_PATH: Final = b"/chat/completions"


class Chat:
    def render(self, request: Request, target: ModelTarget) -> Rendered:
        asking = request.asks_usage is _GATEWAY
        return Rendered(_CHAT_PATH, body_with_model(request, target, asking=asking))

    def read(self, request: Request, body: bytes) -> Reply:
        try:
            reply = decoded(body)
        except orjson.JSONDecodeError:
            raise BadReply("the reply is not JSON") from None
        choices = reply.get("choices") if isinstance(reply, dict) else None
        if not isinstance(choices, list) or not choices:
            raise BadReply("the reply has no choices")
        return Reply(body, read_usage(reply.get("usage")))

    def stream(self, request: Request) -> OpenAIStream:
        return stream_of(request, one_choice=request.body.get("n") in (None, 1))


class TranslatedChat(Chat):
    """For what clients asked in another API: the words of the request are ours."""

    def render(self, request: Request, target: ModelTarget) -> Rendered:
        chat = fitted(request.body, target)
        apart = attachments_apart(chat.get("messages"))
        if apart is not None:
            chat["messages"] = apart.messages
        try:
            body = orjson.dumps(chat)
        except orjson.JSONEncodeError:
            raise Untranslatable("The request is nested too deeply.") from None
        return Rendered(_CHAT_PATH, body, origins=() if apart is None else apart.origins)


class OpenAI:
    chat: Final = TranslatedChat()
    native: Final[Mapping[str, Codec]] = {
        "chat": Chat(),
        "completions": Completions(),
        "embeddings": Embeddings(),
        "responses": Responses(),
        "passthrough": Passthrough(),
    }
    models_path: Final = b"/models"
    version: Final = b""

    def auth_headers(self, credential: str | None) -> tuple[tuple[bytes, bytes], ...]:
        if credential is None:
            return ()
        return ((b"authorization", b"Bearer " + credential.encode()),)

    def read_error(self, status: int, body: bytes) -> ProviderError:
        return read_error(status, body)
