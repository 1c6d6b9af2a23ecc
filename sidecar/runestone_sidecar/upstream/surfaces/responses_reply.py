"""A whole chat completion as a Response object."""

from collections.abc import Mapping
from typing import Any

import orjson

from runestone_sidecar.upstream.dialects.base import BadReply, Request
from runestone_sidecar.upstream.surfaces.responses_items import (
    NO_ARGUMENTS,
    call_item,
    logprobs_of,
    message_item,
    reasoning_item,
    reasoning_text,
    refusal_part,
    text_part,
)
from runestone_sidecar.upstream.surfaces.responses_object import (
    COMPLETED,
    Ending,
    Ids,
    ending_of,
    response_object,
)
from runestone_sidecar.upstream.surfaces.responses_seal import sealed

_Json = dict[str, Any]


def read_completion(request: Request, completion: Mapping[str, Any]) -> bytes:
    """Raises BadReply."""
    match completion.get("choices"):
        case [{"message": dict() as message} as choice, *_]:
            pass
        case _:
            raise BadReply("the reply has no message")
    ending = ending_of(choice.get("finish_reason"))
    ids = Ids(request, completion.get("id"))
    output: list[_Json] = []
    _add_reasoning(output, ids, message)
    _add_message(output, ids, message, choice.get("logprobs"))
    _add_calls(output, ids, message.get("tool_calls"))
    _end(output, ending)
    return orjson.dumps(response_object(request, ids, output, ending=ending, chat=completion))


def _end(output: list[_Json], ending: Ending) -> None:
    """Only the last item can be one that was cut: what is missing there is not made up."""
    if output and "status" in output[-1]:
        output[-1]["status"] = ending.status
    for item in output:
        if item["type"] == "function_call" and item["status"] == COMPLETED:
            item["arguments"] = item["arguments"] or NO_ARGUMENTS


def _add_reasoning(output: list[_Json], ids: Ids, message: Mapping[str, Any]) -> None:
    blocks = message.get("thinking_blocks")
    if not isinstance(blocks, list) or not blocks:
        if text := reasoning_text(message):
            output.append(reasoning_item(ids.item("rs", len(output)), text=text))
        return
    for block in blocks:
        if not isinstance(block, dict):
            raise BadReply("a thinking block is malformed")
        shown = block.get("thinking")
        summary = shown if isinstance(shown, str) else ""
        id_ = ids.item("rs", len(output))
        output.append(reasoning_item(id_, summary=summary, seal=sealed(block)))


def _add_message(output: list[_Json], ids: Ids, message: Mapping[str, Any], logprobs: Any) -> None:
    content, refusal = message.get("content"), message.get("refusal")
    if isinstance(content, list):
        content = "".join(map(_text_of_part, content))
    if not isinstance(content, str | None) or not isinstance(refusal, str | None):
        raise BadReply("the content is not a text")
    parts = [text_part(content, logprobs_of(logprobs))] if content else []
    if refusal:
        parts.append(refusal_part(refusal))
    if parts:
        output.append(message_item(ids.item("msg", len(output)), parts, COMPLETED))


def _text_of_part(part: Any) -> str:
    match part:
        case {"type": "text", "text": str() as text}:
            return text
        case _:
            raise BadReply("a part of the content is not a text")


def _add_calls(output: list[_Json], ids: Ids, calls: Any) -> None:
    if calls is None:
        return
    if not isinstance(calls, list):
        raise BadReply("the tool calls are malformed")
    for call in calls:
        match call:
            case {"function": {"name": str() as name} as function} if name and isinstance(
                arguments := function.get("arguments"), str | None
            ):
                index, given = len(output), call.get("id")
                made = ids.item("call", index)
                output.append(
                    call_item(
                        ids.item("fc", index),
                        call_id=given if isinstance(given, str) and given else made,
                        name=name,
                        arguments=arguments or "",
                        status=COMPLETED,
                    )
                )
            case _:
                raise BadReply("a tool call is malformed")
