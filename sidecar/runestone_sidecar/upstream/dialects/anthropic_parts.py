"""The content of one OpenAI message, string or parts, as Anthropic's content blocks."""

import base64
import binascii
from typing import Any, Final

from runestone_sidecar.upstream.dialects.base import Untranslatable
from runestone_sidecar.upstream.dialects.fields import within

Block = dict[str, Any]

_IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF: Final = "application/pdf"
_PDF_START: Final = "JVBERi0"  # "%PDF-" in base64


def blocks_of(content: Any, *, only_text: bool = False) -> list[Block]:
    """Without text that shows nothing, which the Messages API refuses. Raises Untranslatable."""
    if isinstance(content, str):
        return [text_block(content)] if content.strip() else []
    if not isinstance(content, list):
        raise Untranslatable("Content must be a string or an array of parts.", param="content")
    blocks = []
    for position, part in enumerate(content):
        try:
            block = _block(part, only_text=only_text)
        except Untranslatable as refusal:
            raise within(f"content[{position}]", refusal) from None
        if block["type"] != "text" or block["text"].strip():
            blocks.append(block)
    return blocks


def text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def plain_text_of(value: Any, param: str) -> str:
    """A string, or nothing."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Untranslatable("This must be a string.", param=param)
    return value


def _block(part: Any, *, only_text: bool) -> Block:
    if not isinstance(part, dict):
        raise Untranslatable("A part of the content must be an object.")
    kind = part.get("type")
    if kind == "text":
        block = text_block(plain_text_of(part.get("text"), "text"))
    elif kind == "refusal":
        block = text_block(plain_text_of(part.get("refusal"), "refusal"))
    elif kind == "image_url" and not only_text:
        block = _image(part.get("image_url"))
    elif kind == "file" and not only_text:
        block = _document(part.get("file"))
    else:
        raise Untranslatable("This part is not supported for this model here.", "type")
    if (cache_control := part.get("cache_control")) is not None:
        block["cache_control"] = cache_control
    return block


def _image(image: Any) -> Block:
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str):
        raise Untranslatable("An image needs a URL.", param="image_url.url")
    if url.startswith(("https://", "http://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type, data = _data_url(url, "image_url.url")
    media_type = "image/jpeg" if media_type == "image/jpg" else media_type
    if media_type not in _IMAGE_TYPES:
        raise Untranslatable("An image must be JPEG, PNG, GIF or WebP.", "image_url.url")
    return {"type": "image", "source": _base64_source(media_type, data)}


def _document(file: Any) -> Block:
    data = file.get("file_data") if isinstance(file, dict) else None
    if not isinstance(data, str):
        message = "A file must come as `file_data`; uploaded files are of one provider only."
        raise Untranslatable(message, param="file.file_data")
    if data.startswith(_PDF_START):
        media_type = _PDF
    else:
        media_type, data = _data_url(data, "file.file_data")
    if media_type == _PDF:
        source = _base64_source(_PDF, data)
    elif media_type.startswith("text/"):
        text = _decoded_text(data, "file.file_data")
        source = {"type": "text", "media_type": "text/plain", "data": text}
    else:
        raise Untranslatable("A file must be PDF or text.", param="file.file_data")
    block = {"type": "document", "source": source}
    if isinstance(name := file.get("filename"), str) and name:
        block["title"] = name
    return block


def _base64_source(media_type: str, data: str) -> Block:
    return {"type": "base64", "media_type": media_type, "data": data}


def _data_url(url: str, param: str) -> tuple[str, str]:
    header, comma, data = url.partition(",")
    scheme, _, media_type = header.partition(":")
    media_type, _, parameters = media_type.partition(";")
    if not comma or scheme.lower() != "data" or not parameters.lower().endswith("base64"):
        raise Untranslatable("An http(s) or a base64 data URL is needed.", param=param)
    return media_type.strip().lower(), data


def _decoded_text(data: str, param: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Untranslatable("This is not text in base64.", param=param) from None
