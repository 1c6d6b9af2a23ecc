"""Watches a multipart/form-data body go by for the parts of one name, and holds none of it.

It is read strictly: what two readers could read in two ways is refused, so that the model that was
authorized is the one that the provider finds.
"""

import re
from dataclasses import dataclass
from typing import Final

from runestone_sidecar.errors import BadRequest

MAX_HEAD_BYTES: Final = 8 * 1024  # of one part
MAX_VALUE_BYTES: Final = 1024
MAX_PARTS: Final = 1000

_BOUNDARY: Final = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_PARAMETER: Final = re.compile(
    rb'[ \t]*;[ \t]*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^;"\s]*)[ \t]*'
)
_PLAIN_CODINGS: Final = frozenset({b"7bit", b"8bit", b"binary"})
_UNFIT: Final = re.compile(rb"[\0\r\n]")
_AROUND: Final = b" \t'\"<>"  # what some take off a name
_is_token: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch

_PREAMBLE, _DELIMITER, _HEAD, _START, _CONTENT, _END = range(6)


@dataclass(frozen=True, slots=True)
class Found:
    """A part's value, and where in the body it stands."""

    value: bytes
    start: int
    end: int


def boundary_of(content_type: bytes) -> bytes:
    """Raises BadRequest."""
    kind, semicolon, rest = content_type.partition(b";")
    if kind.strip().lower() != b"multipart/form-data":
        raise _malformed("its Content-Type is not multipart/form-data")
    boundary = _parameters(semicolon + rest).get(b"boundary")
    if boundary is None or not _BOUNDARY.fullmatch(boundary):
        raise _malformed("its Content-Type has no fit boundary")
    return boundary


def content_type_of(boundary: bytes) -> bytes:
    """With nothing else in it: a charset, say, in which some would read the names of the parts."""
    shown = boundary if _is_token(boundary) else b'"%b"' % boundary
    return b"multipart/form-data; boundary=" + shown


class PartScanner:
    """Fed a body piece by piece; holds no more than a delimiter, a part's head or a value."""

    def __init__(self, boundary: bytes, name: bytes) -> None:
        self._mark = b"\r\n--" + boundary
        self._name = name
        self._buffer = bytearray(b"\r\n")  # the first delimiter has no line before it
        self._offset = -2  # in the body, of what the buffer begins with
        self._state = _PREAMBLE
        self._wanted = False  # the part that is being read is of that name
        self._parts = 0

    @property
    def ended(self) -> bool:
        """The closing delimiter was there."""
        return self._state == _END

    def feed(self, data: bytes) -> list[Found]:
        """The values that end with it. Raises BadRequest."""
        self._buffer += data
        found: list[Found] = []
        while self._step(found):
            pass
        return found

    def _step(self, found: list[Found]) -> bool:
        """Whether there may be more to read in what is here."""
        if self._state == _CONTENT:
            return self._read_content(found)
        if self._state == _HEAD:
            return self._read_head()
        if self._state == _START:
            return self._read_start()
        if self._state == _DELIMITER:
            return self._read_delimiter()
        return self._read_preamble() if self._state == _PREAMBLE else self._read_epilogue()

    def _read_preamble(self) -> bool:
        here = bytes(self._buffer[: len(self._mark)])
        if not self._mark.startswith(here):
            raise _malformed("it does not begin with its boundary")
        if len(here) < len(self._mark):
            return False
        self._drop(len(self._mark), _DELIMITER)
        return True

    def _read_content(self, found: list[Found]) -> bool:
        at = self._buffer.find(self._mark)
        if at < 0:
            if not self._wanted:
                self._drop(max(0, len(self._buffer) - len(self._mark) + 1), _CONTENT)
            elif len(self._buffer) > MAX_VALUE_BYTES + len(self._mark):
                raise self._too_long()
            return False
        if self._wanted:
            if at > MAX_VALUE_BYTES:
                raise self._too_long()
            found.append(Found(bytes(self._buffer[:at]), self._offset, self._offset + at))
        self._drop(at + len(self._mark), _DELIMITER)
        return True

    def _read_delimiter(self) -> bool:
        if len(self._buffer) < 2:
            return False
        match bytes(self._buffer[:2]):
            case b"\r\n":
                self._parts += 1
                if self._parts > MAX_PARTS:
                    raise _malformed(f"it has more than {MAX_PARTS} parts")
                self._drop(2, _HEAD)
            case b"--":
                self._drop(2, _END)
            case _:
                raise _malformed("its boundary stands where no part begins or ends")
        return True

    def _read_head(self) -> bool:
        at = self._buffer.find(b"\r\n\r\n")
        if at > MAX_HEAD_BYTES or (at < 0 and len(self._buffer) > MAX_HEAD_BYTES):
            raise _malformed(f"the head of a part is longer than {MAX_HEAD_BYTES} bytes")
        if at < 0:
            return False
        self._wanted = _is_of(self._name, bytes(self._buffer[:at]))
        self._drop(at + 4, _START)
        return True

    def _read_start(self) -> bool:
        """Some take a boundary right behind a head for the end of an empty part, some do not."""
        mark = self._mark[2:]
        here = bytes(self._buffer[: len(mark)])
        if here == mark:
            raise _malformed("a part has no content")
        if mark.startswith(here):
            return False
        self._state = _CONTENT
        return True

    def _read_epilogue(self) -> bool:
        if bytes(self._buffer) not in {b"", b"\r", b"\r\n"}:
            raise _malformed("something follows its end")
        return False

    def _drop(self, count: int, state: int) -> None:
        del self._buffer[:count]
        self._offset += count
        self._state = state

    def _too_long(self) -> BadRequest:
        name = self._name.decode()
        return BadRequest(f"'{name}' is longer than {MAX_VALUE_BYTES} bytes.", param=name)


def _is_of(name: bytes, head: bytes) -> bool:
    """Whether a part's head names it so. Raises BadRequest where readers could disagree."""
    dispositions: list[bytes] = []
    coding = b"binary"
    for line in head.split(b"\r\n"):
        field, colon, value = line.partition(b":")
        if not colon or field != field.strip() or not field or _UNFIT.search(line):
            raise _malformed("the head of a part is not one")
        if field.lower() == b"content-disposition":
            dispositions.append(value.strip())
        elif field.lower() == b"content-transfer-encoding":
            coding = value.strip().lower()
    if len(dispositions) != 1:
        raise _malformed("a part does not have one Content-Disposition")
    kind, semicolon, rest = dispositions[0].partition(b";")
    parameters = _parameters(semicolon + rest)
    if kind.strip().lower() != b"form-data" or b"name" not in parameters:
        raise _malformed("a part has no fit name")
    if any(b"*" in each and each != b"filename*" for each in parameters):  # RFC 2231's: `name*0`
        raise _malformed("a part has no fit name")
    if parameters[b"name"].strip(_AROUND).lower() != name:
        return False
    if parameters[b"name"] != name or coding not in _PLAIN_CODINGS:
        raise BadRequest(f"The part '{name.decode()}' is not written plainly.", param=name.decode())
    return True


def _parameters(text: bytes) -> dict[bytes, bytes]:
    """`; a=b; c="d"`, each once. Raises BadRequest."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None or match[1].lower() in found:
            raise _malformed("a header has parameters that cannot be read")
        value = match[2]
        if value.startswith(b'"'):
            value = value[1:-1]
            if (
                b"\\" in value and match[1].lower() != b"filename"
            ):  # taken off by some, by others not
                raise _malformed("a header has a backslash in a parameter")
        found[match[1].lower()] = value
        at = match.end()
    return found


def _malformed(why: str) -> BadRequest:
    return BadRequest(f"The multipart body is malformed: {why}.")
