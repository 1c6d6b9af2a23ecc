"""OpenAI's legacy completions, natively: bytes pass unchanged, as a chat's do."""

from typing import Final

import orjson

from runestone_sidecar.upstream.dialects.base import (
    AsksUsage,
    BadReply,
    ModelTarget,
    Rendered,
    Reply,
    Request,
)
from runestone_sidecar.upstream.dialects.openai_body import read_usage
from runestone_sidecar.upstream.dialects.openai_stream import OpenAIStream
from runestone_sidecar.upstream.dialects.openai_usage_stream import stream_of
from runestone_sidecar.upstream.dialects.splice import body_with_model

_PATH: Final = b"/completions"


class Completions:
    def render(self, request: Request, target: ModelTarget) -> Rendered:
        asking = request.asks_usage is AsksUsage.GATEWAY
        return Rendered(path=_PATH, body=body_with_model(request, target, asking=asking))

    def read(self, request: Request, body: bytes) -> Reply:
        try:
            reply = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise BadReply("the reply is not JSON") from None
        choices = reply.get("choices") if isinstance(reply, dict) else None
        if not isinstance(choices, list) or not choices:
            raise BadReply("the reply has no choices")
        return Reply(body=body, usage=read_usage(reply.get("usage")))

    def stream(self, request: Request) -> OpenAIStream:
        return stream_of(request, one_choice=_is_single(request))


def _is_single(request: Request) -> bool:
    """A list of strings is a prompt each; one of numbers is a single prompt in tokens."""
    prompt = request.body.get("prompt")
    several = isinstance(prompt, list) and len(prompt) > 1 and not isinstance(prompt[0], int)
    return not several and request.body.get("n") in (None, 1)
