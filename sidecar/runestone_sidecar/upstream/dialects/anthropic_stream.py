"""A streamed reply of Anthropic's Messages API as OpenAI chat completion chunks.

What all chunks of a reply share is rendered once; a delta costs one decode and one short encode.
Tool calls and thinking blocks get their own dense indices, so that a client's accumulator (OpenAI's
SDK has one) rebuilds from the deltas what a whole reply holds.
"""

from collections.abc import Callable
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.dialects.anthropic_reply import (
    TokenCounts,
    explanation_of,
    finish_reason,
    reply_id,
)
from runestone_sidecar.upstream.dialects.anthropic_tools import ANSWER_TOOL, defines_answer_tool
from runestone_sidecar.upstream.dialects.base import BadReply, ProviderError, Request, Usage
from runestone_sidecar.upstream.dialects.exact_json import with_whole_pairs
from runestone_sidecar.upstream.dialects.provider_error import error_of, judges_request
from runestone_sidecar.upstream.sse import SSEParser, SSETooLargeError

_DONE: Final = b"data: [DONE]\n\n"
_MAX_OPEN_BLOCKS: Final = 256  # one is open at a time in practice

_Event = dict[str, Any]


class _Input:
    """The input of a tool call that is open: where in a chunk each piece of its text goes."""

    __slots__ = ("after", "before", "is_empty")

    def __init__(self, before: bytes, after: bytes) -> None:
        self.before = before
        self.after = after
        self.is_empty = True


class AnthropicStream:
    """`error` is what the provider reported inside the stream; it went out as an error frame."""

    __slots__ = (
        "_calls",
        "_content",
        "_counts",
        "_delta_start",
        "_end",
        "_head",
        "_inputs",
        "_is_answered",
        "_is_finished",
        "_ours",
        "_parser",
        "_request",
        "_thought_count",
        "_thoughts",
        "at_boundary",
        "complete",
        "error",
        "usage",
    )

    def __init__(self, request: Request) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self.at_boundary = True  # only whole events go out
        self.error: ProviderError | None = None
        self._request = request
        self._parser = SSEParser()
        self._counts = TokenCounts()
        self._ours = not defines_answer_tool(request.body)
        # Open blocks whose deltas need to know them, by the provider's index.
        self._inputs: dict[int, _Input] = {}
        self._thoughts: dict[int, bytes] = {}
        self._calls = 0
        self._thought_count = 0
        self._is_answered = False
        self._is_finished = False
        # The parts that chunks share, from the message's start on: up to the choices, up to a
        # delta's fields, up to a text, and what follows the delta's fields.
        self._head = self._delta_start = self._content = b""
        self._end = self._end_with(b"null")

    def feed(self, data: bytes) -> bytes:
        try:
            events = self._parser.feed(data)
        except SSETooLargeError as error:
            raise BadReply(f"an event stream's {error.what} is too long") from error
        if len(events) == 1:
            return self._chunks(events[0][1])
        return b"".join([self._chunks(event) for _, event in events])

    def finish(self) -> bytes:
        chunks = b"".join([self._chunks(event) for _, event in self._parser.finish()])
        if not self.complete:
            raise BadReply("the stream ended before the reply was whole")
        return chunks

    def _chunks(self, data: bytes) -> bytes:
        if self.complete or self.error is not None:
            return b""  # nothing may follow
        try:
            event = orjson.loads(data)
            kind = event["type"]
            if kind == "content_block_delta":
                delta = event["delta"]
                if delta["type"] == "text_delta":  # nearly all events, so without detours
                    text = delta["text"]
                    if text.__class__ is str and self._content:
                        return self._content + orjson.dumps(text) + self._end
                return self._on_delta(event, delta)
            handle = _HANDLERS.get(kind)
            return b"" if handle is None else handle(self, event)
        except orjson.JSONDecodeError:
            whole = with_whole_pairs(data)
            if whole == data:
                raise BadReply("an event of the stream is not JSON") from None
            return self._chunks(whole)
        except (KeyError, TypeError, AttributeError):
            raise BadReply("an event of the stream is malformed") from None

    def _on_delta(self, event: _Event, delta: _Event) -> bytes:
        match delta["type"]:
            case "text_delta":
                return self._text_chunk(delta["text"])
            case "input_json_delta":
                return self._input_chunk(self._inputs.get(event["index"]), delta["partial_json"])
            case "thinking_delta":
                return self._thought_chunk(self._thoughts[event["index"]], delta["thinking"])
            case "signature_delta":
                signature = b'"signature":' + _quoted(delta["signature"]) + b"}]"
                return self._chunk(self._thoughts[event["index"]] + signature)
            case _:
                return b""  # citations

    def _on_message_start(self, event: _Event) -> bytes:
        message = event["message"]
        self.usage = self._counts.take(message.get("usage"))
        identity = {
            "id": reply_id(message.get("id"), self._request),
            "object": "chat.completion.chunk",
            "created": self._request.created_s,
            "model": self._request.model,
        }
        self._head = b"data: " + orjson.dumps(identity)[:-1] + b',"choices":['
        self._delta_start = self._head + b'{"index":0,"delta":{'
        self._content = self._delta_start + b'"content":'
        return self._chunk(b'"role":"assistant","content":"","refusal":null')

    def _on_block_start(self, event: _Event) -> bytes:
        if len(self._inputs) + len(self._thoughts) >= _MAX_OPEN_BLOCKS:
            raise BadReply("the stream leaves too many blocks open")
        index, block = event["index"], event["content_block"]
        match block["type"]:
            case "text":
                return self._text_chunk(block.get("text", ""))
            case "tool_use":
                return self._start_input(index, block)
            case "thinking":
                return self._start_thought(index, block)
            case "redacted_thinking":
                data = b'"type":"redacted_thinking","data":' + _quoted(block["data"]) + b"}]"
                return self._chunk(self._next_thought() + data)
            case _:
                return b""  # of a tool that runs at the provider

    def _start_input(self, index: int, block: _Event) -> bytes:
        name, given = block["name"], block.get("input")
        if self._ours and name == ANSWER_TOOL:
            if self._is_answered:
                return b""  # two of them are no JSON
            self._is_answered = True
            opening = b""
            self._inputs[index] = _Input(self._content, self._end)
        else:
            call = b'{"index":%d,"id":%b,"type":"function","function":{"name":%b,"arguments":""}}'
            call %= self._calls, _quoted(block["id"]), _quoted(name)
            opening = self._chunk(b'"tool_calls":[' + call + b"]")
            before = b'"tool_calls":[{"index":%d,"function":{"arguments":' % self._calls
            self._inputs[index] = _Input(self._delta_start + before, b"}}]" + self._end)
            self._calls += 1
        if not given:
            return opening
        # Imitators give the whole input here and no deltas.
        return opening + self._input_chunk(self._inputs[index], orjson.dumps(given).decode())

    def _start_thought(self, index: int, block: _Event) -> bytes:
        self._thoughts[index] = start = self._next_thought()
        chunk = self._chunk(start + b'"type":"thinking","thinking":""}]')
        return chunk + self._thought_chunk(start, block.get("thinking", ""))

    def _on_block_stop(self, event: _Event) -> bytes:
        index = event["index"]
        self._thoughts.pop(index, None)
        ended = self._inputs.pop(index, None)
        # No input is an empty object, as the arguments of a call and as an answer.
        return self._input_chunk(ended, "{}") if ended is not None and ended.is_empty else b""

    def _on_message_delta(self, event: _Event) -> bytes:
        self.usage = self._counts.take(event.get("usage"))
        delta = event["delta"]
        if self._is_finished or delta.get("stop_reason") is None:
            return b""
        self._is_finished = True
        reason = finish_reason(delta["stop_reason"], has_tool_calls=self._calls > 0)
        explanation = explanation_of(delta.get("stop_details"))
        refusal = b"" if explanation is None else self._chunk(b'"refusal":' + _quoted(explanation))
        last = self._chunk(b"").removesuffix(self._end)
        return refusal + last + self._end_with(_quoted(reason))

    def _on_message_stop(self, _: _Event) -> bytes:
        if not self._is_finished:
            raise BadReply("the reply has no stop reason")
        self.complete = True
        if not self._request.include_usage:
            return _DONE
        usage = orjson.dumps(self._counts.openai_usage())
        return self._head + b'],"usage":' + usage + b"}\n\n" + _DONE

    def _on_error(self, event: _Event) -> bytes:
        error = error_of(event, status=502)
        if not self._head and not judges_request(error):
            raise BadReply("the stream began with an error")
        self.error = error
        return b"data: " + orjson.dumps({"error": error}) + b"\n\n"

    def _text_chunk(self, text: Any) -> bytes:
        if not self._content:
            raise BadReply("the stream does not begin with a message")
        return self._content + _quoted(text) + self._end if text else b""

    def _input_chunk(self, input_: _Input | None, text: Any) -> bytes:
        if input_ is None or not text:
            return b""  # of a tool that runs at the provider, or the empty piece that comes first
        input_.is_empty = False
        return input_.before + _quoted(text) + input_.after

    def _thought_chunk(self, start: bytes, text: Any) -> bytes:
        if not text:
            return b""
        quoted = _quoted(text)
        return self._chunk(
            b'"reasoning_content":' + quoted + b"," + start + b'"thinking":' + quoted + b"}]"
        )

    def _next_thought(self) -> bytes:
        start = b'"thinking_blocks":[{"index":%d,' % self._thought_count
        self._thought_count += 1
        return start

    def _end_with(self, finish_reason: bytes) -> bytes:
        usage = b',"usage":null' if self._request.include_usage else b""
        return b'},"logprobs":null,"finish_reason":%b}]%b}\n\n' % (finish_reason, usage)

    def _chunk(self, fields: bytes) -> bytes:
        if not self._delta_start:
            raise BadReply("the stream does not begin with a message")
        return self._delta_start + fields + self._end


def _quoted(text: Any) -> bytes:
    if not isinstance(text, str):
        raise BadReply("a text of the stream is malformed")
    return orjson.dumps(text)


_HANDLERS: Final[dict[str, Callable[[AnthropicStream, _Event], bytes]]] = {
    "message_start": AnthropicStream._on_message_start,
    "content_block_start": AnthropicStream._on_block_start,
    "content_block_stop": AnthropicStream._on_block_stop,
    "message_delta": AnthropicStream._on_message_delta,
    "message_stop": AnthropicStream._on_message_stop,
    "error": AnthropicStream._on_error,
}
