"""How many input tokens a request has, in any format that clients speak. Pure and total.

Text is weighed by text_tokens, which says how far off that is; what is no text has the numbers that
the vendors document. Every string is looked at once, at whatever depth: nothing here recurses.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from runestone_sidecar.upstream.text_tokens import estimate_text

# OpenAI's cookbook: 3 a message and 1 for its role; 3 open the reply.
MESSAGE_TOKENS: Final = 4
REPLY_TOKENS: Final = 3
# Anthropic's documentation of tool use: the system prompt that tools bring along (Claude 4).
ANTHROPIC_TOOLS_TOKENS: Final = 346
# OpenAI on images: 85, and in high detail 170 for each of the four tiles of 1024 x 1024.
LOW_DETAIL_IMAGE_TOKENS: Final = 85
IMAGE_TOKENS: Final = 765
# Anthropic on images: width x height / 750, shrunk before to what makes about 1,600.
ANTHROPIC_IMAGE_TOKENS: Final = 1_600
# OpenAI on audio: one for each 100 ms. WAV has 24 kHz of 16 bits; the rest is taken for 128 kbit/s.
AUDIO_TOKENS_PER_S: Final = 10
WAV_BYTES_PER_S: Final = 48_000
COMPRESSED_BYTES_PER_S: Final = 16_000
# Anthropic on PDFs: 1,500 to 3,000 a page. That a page has 50 kB is our guess.
PAGE_TOKENS: Final = 3_000
PAGE_BYTES: Final = 50_000
TEXT_FILE_BYTES_PER_TOKEN: Final = 4

_CONTENT: Final = ("system", "instructions", "messages", "prompt", "input")
_SCHEMAS: Final = ("tools", "functions", "response_format", "text", "output_config")
_LONG_CHARACTERS: Final = 65_536  # weighed alone: joining the others would copy it
_SILENT: Final = frozenset((  # no model reads these of a message, an item or a part
    "role", "type", "id", "call_id", "tool_call_id", "tool_use_id", "item_id", "response_id",
    "status", "cache_control", "signature", "encrypted_content",
))  # fmt: skip


class _Tally:
    """What was found: texts, which are weighed together, and the tokens of all else."""

    __slots__ = ("content", "fixed", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.content: list[Any] = []  # containers still to be looked into
        self.fixed = 0.0

    def add(self, value: Any) -> None:
        if isinstance(value, str):
            self.texts.append(value)
        elif isinstance(value, (dict, list)):
            self.content.append(value)

    def spell_out(self, value: dict[str, Any] | list[Any]) -> None:
        """What the model reads as JSON, keys and all: a tool's schema, a call's arguments."""
        try:
            self.texts.append(orjson.dumps(value).decode())
        except orjson.JSONEncodeError:  # deeper than it writes: the values must do
            self.content.append(value)


def estimate_request(body: Mapping[str, Any]) -> int:
    tally = _Tally()
    for field in _CONTENT:
        if (value := body.get(field)) is not None:
            tally.add(value)
            if isinstance(value, list):
                tally.fixed += _count_turns(field, value)
    for field in _SCHEMAS:
        if isinstance(value := body.get(field), (dict, list)):
            tally.spell_out(value)
            if field == "tools":
                tally.fixed += _count_preamble(value)
    while tally.content:
        _look_into(tally, tally.content.pop())
    return round(tally.fixed) + _weigh(tally.texts)


def _weigh(texts: list[str]) -> int:
    """Together: a sample of all costs less than a sample of each."""
    if len(texts) == 1:
        return estimate_text(texts[0])
    alone = [text for text in texts if len(text) >= _LONG_CHARACTERS]
    others = [text for text in texts if len(text) < _LONG_CHARACTERS] if alone else texts
    return sum(map(estimate_text, alone)) + estimate_text("\n".join(others))


def _count_turns(field: str, value: list[Any]) -> int:
    """The frame around messages and items; a list of texts or of tokens has none."""
    if field not in ("messages", "input") or not value or not isinstance(value[0], dict):
        return 0
    return len(value) * MESSAGE_TOKENS + REPLY_TOKENS


def _count_preamble(tools: Any) -> int:
    anthropic = isinstance(tools, list) and tools and isinstance(tools[0], dict)
    return ANTHROPIC_TOOLS_TOKENS if anthropic and "input_schema" in tools[0] else 0


def _look_into(tally: _Tally, value: Any) -> None:
    """A list, message, item or part: its texts, and what is in it."""
    if isinstance(value, list):
        if value and isinstance(value[0], int):
            tally.fixed += len(value)  # tokens already: legacy completions and embeddings
            return
        for item in value:
            tally.add(item)
        return
    kind = value.get("type")
    count = _COUNTS.get(kind) if isinstance(kind, str) else None
    if count is not None:
        tally.fixed += count(tally, value)
        return
    for key, item in value.items():
        if key not in _SILENT:
            if isinstance(item, str):
                tally.texts.append(item)
            elif isinstance(item, (dict, list)):
                tally.content.append(item)


def _count_call(tally: _Tally, part: dict[str, Any]) -> float:
    tally.add(part.get("name"))
    if isinstance(arguments := part.get("input"), (dict, list)):
        tally.spell_out(arguments)
    return 0


def _count_openai_image(_: _Tally, part: dict[str, Any]) -> float:
    """`image_url` of chat holds the detail inside, `input_image` of responses beside it."""
    inner = part.get("image_url")
    detail = inner.get("detail") if isinstance(inner, dict) else part.get("detail")
    return LOW_DETAIL_IMAGE_TOKENS if detail == "low" else IMAGE_TOKENS


def _count_anthropic_image(_: _Tally, __: dict[str, Any]) -> float:
    return ANTHROPIC_IMAGE_TOKENS


def _count_audio(_: _Tally, part: dict[str, Any]) -> float:
    audio = part.get("input_audio")
    if not isinstance(audio, dict):
        return 0
    wav = audio.get("format") == "wav"
    bytes_per_s = WAV_BYTES_PER_S if wav else COMPRESSED_BYTES_PER_S
    return _decoded_bytes(audio.get("data")) / bytes_per_s * AUDIO_TOKENS_PER_S


def _count_file(_: _Tally, part: dict[str, Any]) -> float:
    """`file` of chat holds the data inside, `input_file` of responses beside it."""
    inner = part.get("file")
    data = (inner if isinstance(inner, dict) else part).get("file_data")
    kind = data[:64] if isinstance(data, str) else ""
    return _count_bytes(_decoded_bytes(data), text=kind.startswith("data:text/"))


def _count_document(tally: _Tally, part: dict[str, Any]) -> float:
    """Anthropic's: plain text, blocks, base64, or elsewhere."""
    tally.add(part.get("title"))
    tally.add(part.get("context"))
    source = part.get("source")
    if not isinstance(source, dict):
        return 0
    kind = source.get("type")
    if kind == "text":
        tally.add(source.get("data"))
        return 0
    if kind == "content":
        tally.add(source.get("content"))
        return 0
    return _count_bytes(_decoded_bytes(source.get("data")))


def _count_payload(_: _Tally, part: dict[str, Any]) -> float:
    """Base64 in a part that we do not know."""
    return _count_bytes(_decoded_bytes(part.get("data")))


def _count_nothing(_: _Tally, __: dict[str, Any]) -> float:
    return 0


def _count_bytes(size_bytes: float, *, text: bool = False) -> float:
    """Of a file; one that is elsewhere has no bytes here and is taken for a page."""
    if text:
        return size_bytes / TEXT_FILE_BYTES_PER_TOKEN
    return max(1, -(-size_bytes // PAGE_BYTES)) * PAGE_TOKENS


def _decoded_bytes(data: Any) -> float:
    return len(data) * 3 / 4 if isinstance(data, str) else 0


_COUNTS: Final[Mapping[str, Callable[[_Tally, dict[str, Any]], float]]] = {
    "image_url": _count_openai_image,
    "input_image": _count_openai_image,
    "computer_screenshot": _count_openai_image,
    "image_generation_call": _count_openai_image,
    "image": _count_anthropic_image,
    "input_audio": _count_audio,
    "file": _count_file,
    "input_file": _count_file,
    "document": _count_document,
    "base64": _count_payload,
    "tool_use": _count_call,
    "server_tool_use": _count_call,
    "redacted_thinking": _count_nothing,
}
