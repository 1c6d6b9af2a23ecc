"""A v1/Secret document -> its values. No message about it repeats one."""

import base64
import binascii
import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from runestone_operator.api.problems import FieldError, Location

_FIELDS: Final = ("apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData")
_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")


class InvalidSecretError(Exception):
    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__(errors)
        self.errors = errors


def parse_secret(document: Mapping[str, Any]) -> Mapping[str, bytes]:
    """Key -> value; stringData wins over data, as on the API server. Raises InvalidSecretError."""
    errors = list(_unknown_fields(document))
    values: dict[str, bytes] = {}
    for field, decode in (("data", _from_base64), ("stringData", str.encode)):
        entries = document.get(field)
        if entries is None:
            continue
        if not isinstance(entries, Mapping):
            errors.append(FieldError((field,), "must be a map"))
            continue
        for key, value in entries.items():
            found = _value((field, key), value, decode)
            if isinstance(found, FieldError):
                errors.append(found)
            else:
                values[key] = found
    if errors:
        raise InvalidSecretError(tuple(errors))
    return values


def _unknown_fields(document: Mapping[str, Any]) -> Iterator[FieldError]:
    for name in document:
        if name not in _FIELDS:
            close = difflib.get_close_matches(name, _FIELDS, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            yield FieldError((name,), f"unknown field{hint}")


def _value(at: Location, value: object, decode: Any) -> bytes | FieldError:
    if not _KEY.fullmatch(str(at[-1])):
        return FieldError(at, "must be a key of a Secret: letters, digits, . _ -")
    if value is None:
        return b""
    if not isinstance(value, str):
        return FieldError(at, "must be a string (a number or a yes/no needs quotes)")
    try:
        return bytes(decode(value))
    except (binascii.Error, ValueError):
        return FieldError(at, "is not base64; text as it is goes into stringData")


def _from_base64(text: str) -> bytes:
    return base64.b64decode(re.sub(r"[\r\n]", "", text), validate=True)
