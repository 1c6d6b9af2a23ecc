"""Content blocks of the Messages API as parts of an OpenAI chat message.

`messages_fields.BLOCKS` says what becomes of each block; here is how.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from runestone_sidecar.upstream.dialects.base import Untranslatable
from runestone_sidecar.upstream.dialects.fields import Fate, within
from runestone_sidecar.upstream.surfaces.messages_fields import BLOCKS

Block = dict[str, Any]
Part = dict[str, Any]

_BETWEEN_TEXTS: Final = "\n\n"
_PDF: Final = "application/pdf"


def parts_inside(content: Any, *kinds: str) -> list[Part]:
    """Of blocks that stand inside another one, which may be of these kinds only."""
    parts: list[Part] = []
    for block, place in blocks_of(content):
        if block.get("type") not in kinds:
            message = f"Only blocks of type {' or '.join(kinds)} are supported here."
            raise Untranslatable(message, param=f"{place}.type")
        try:
            parts += part_of(block)
        except Untranslatable as refusal:
            raise within(place, refusal) from None
    return parts


def blocks_of(content: Any) -> list[tuple[Block, str]]:
    """Each with its place. A string is a text block."""
    if isinstance(content, str):
        return [({"type": "text", "text": content}, "content")]
    if not isinstance(content, list):
        raise Untranslatable("This must be a string or an array of blocks.", param="content")
    blocks = []
    for position, block in enumerate(content):
        if not isinstance(block, dict):
            raise Untranslatable("A block must be an object.", param=f"content[{position}]")
        blocks.append((block, f"content[{position}]"))
    return blocks


def part_of(block: Block) -> list[Part]:
    """One block's parts: none where it shows nothing."""
    kind = block.get("type")
    said = _PARTS.get(kind) if isinstance(kind, str) else None
    if said is None:
        raise unsupported(kind)
    return said(block)


def unsupported(kind: Any) -> Untranslatable:
    field = BLOCKS.get(kind) if isinstance(kind, str) else None
    if field is not None and field.fate is Fate.REFUSED:
        return Untranslatable(field.reason, param="type")
    return Untranslatable("This block is not supported for this model here.", param="type")


def text_only(content: Any) -> str:
    """Raises Untranslatable."""
    return joined(parts_inside(content, "text")) or ""


def joined(parts: list[Part]) -> str | None:
    """Text alone as a string, which every vendor takes. None: there is more than text."""
    if not all(part["type"] == "text" for part in parts):
        return None
    return _BETWEEN_TEXTS.join(part["text"] for part in parts)


def string_of(block: Mapping[str, Any], name: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        raise Untranslatable("This must be a string.", param=name)
    return value


def text_part(text: str) -> Part:
    return {"type": "text", "text": text}


def _text(block: Block) -> list[Part]:
    text = string_of(block, "text")
    return [text_part(text)] if text.strip() else []


def _image(block: Block) -> list[Part]:
    source = _source_of(block)
    match source.get("type"):
        case "base64":
            url = f"data:{string_of(source, 'media_type')};base64,{string_of(source, 'data')}"
        case "url":
            url = string_of(source, "url")
        case _:
            message = "An image must come in base64 or as a URL."
            raise Untranslatable(message, param="source.type")
    return [{"type": "image_url", "image_url": {"url": url}}]


def _document(block: Block) -> list[Part]:
    _refuse_citations(block)
    source = _source_of(block)
    title, context = _optional(block, "title"), _optional(block, "context")
    match source.get("type"):
        case "base64":
            if source.get("media_type") != _PDF:
                raise Untranslatable("A document must be PDF or text.", "source.media_type")
            data = f"data:{_PDF};base64,{string_of(source, 'data')}"
            file = {"filename": _filename(title), "file_data": data}
            return [*_texts(context), {"type": "file", "file": file}]
        case "text":
            return _texts(title, context, string_of(source, "data"))
        case "content":
            try:
                return [
                    *_texts(title, context),
                    *parts_inside(source.get("content"), "text", "image"),
                ]
            except Untranslatable as refusal:
                raise within("source", refusal) from None
        case _:
            message = "A document must come as text, or as a PDF in base64."
            raise Untranslatable(message, param="source.type")


def _filename(title: str) -> str:
    """OpenAI wants one, and sees from its end what the file is."""
    if not title:
        return "document.pdf"
    return title if title.lower().endswith(".pdf") else f"{title}.pdf"


def _search_result(block: Block) -> list[Part]:
    _refuse_citations(block)
    title, source = string_of(block, "title"), string_of(block, "source")
    return [*_texts(title, source), *parts_inside(block.get("content"), "text")]


def _texts(*texts: str) -> list[Part]:
    return [text_part(text) for text in texts if text.strip()]


def _optional(block: Block, name: str) -> str:
    return string_of(block, name) if block.get(name) is not None else ""


def _source_of(block: Block) -> Block:
    source = block.get("source")
    if not isinstance(source, dict):
        raise Untranslatable("This must be an object.", param="source")
    return source


def _refuse_citations(block: Block) -> None:
    citations = block.get("citations")
    if isinstance(citations, dict) and citations.get("enabled"):
        raise Untranslatable("This model does not cite.", param="citations")


_PARTS: Final[Mapping[str, Callable[[Block], list[Part]]]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
}
