"""A multipart body on its way from a client to a provider, and the model that it names.

The model is looked for in what comes first and decides where the body goes. Where it comes later,
the body is on its way already: the model may then only confirm where.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final, Self

from runestone_contract.names import HEADER_PROVIDER
from runestone_sidecar.config.snapshot import Offer
from runestone_sidecar.edge.exchange import Caller
from runestone_sidecar.edge.multipart import Found, PartScanner
from runestone_sidecar.edge.request import (
    REFUSED,
    ClientGone,
    Receive,
    Scope,
    header,
    header_text,
)
from runestone_sidecar.errors import BadRequest, BodyTooLarge
from runestone_sidecar.pipeline.forward import Destinations, Wish, check_unrestricted
from runestone_sidecar.pipeline.plan import Record
from runestone_sidecar.telemetry.traffic import NONE
from runestone_sidecar.upstream.outgoing import Upload
from runestone_sidecar.upstream.surfaces.base import MAX_MODEL_LENGTH

FIRST_BYTES: Final = 256 * 1024  # of a body: where its model decides on where it goes

_PROVIDER: Final = HEADER_PROVIDER.encode()
_LATE: Final = "Send the form field 'model' before the file: "
_TWICE: Final = "Send the form field 'model' once."


@dataclass(slots=True)
class Asked:
    """A request before it is read."""

    scope: Scope
    receive: Receive
    record: Record
    caller: Caller
    of_account: bool  # no model decides where it goes

    def wish(self, model: str | None, *, input_bytes: int = 0, user: str | None = None) -> Wish:
        wanted = header(self.scope, _PROVIDER)
        return Wish(
            model=model,
            provider=None if wanted is None else wanted.decode("latin-1"),
            input_bytes=input_bytes,
            user=user,
            header=partial(header_text, self.scope),
        )


@dataclass(slots=True)
class Watch:
    """Over a body that is on its way to a provider before its model is known."""

    destinations: Destinations
    asked: Asked
    offer: Offer  # where it is going

    def check(self, model: str) -> None:
        """Raises ModelNotFound, or BadRequest where it should have gone elsewhere."""
        caller, record = self.asked.caller, self.asked.record
        wish = self.asked.wish(model)
        decision = self.destinations.of_model(caller.snapshot, caller.principal, wish)
        here = [o for o in decision.offers if o.provider.id == self.offer.provider.id]
        if not here:
            raise BadRequest(_LATE + "its model is served by another provider.", param="model")
        if here[0].model != NONE:
            if here[0].target.upstream != model:
                raise BadRequest(
                    _LATE + "its model has another name at the provider.", param="model"
                )
            record.model, record.offer = decision.model, here[0]

    def end(self) -> None:
        """Raises PermissionDenied: it named none."""
        check_unrestricted(self.asked.caller.principal)


class ClientBody:
    """The body of a request as it comes."""

    def __init__(self, scope: Scope, receive: Receive, limit_bytes: int) -> None:
        length = header(scope, b"content-length")
        self.length = None if length is None else int(length)  # digits: the parser saw to it
        self.ended = False
        self._scope = scope
        self._receive = receive
        self._limit_bytes = self._left_bytes = limit_bytes
        if (self.length or 0) > limit_bytes:
            raise self._too_large()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Raises ClientGone, or the error that its connection ended with."""
        if self.ended:
            raise StopAsyncIteration
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise self._scope.get(REFUSED) or ClientGone
        self.ended = not message.get("more_body")
        piece: bytes = message.get("body", b"")
        self._left_bytes -= len(piece)
        if self._left_bytes < 0:
            raise self._too_large()
        return piece

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body is larger than {self._limit_bytes} bytes.")


class Form:
    """A multipart body whose first part is held until it is known where it goes."""

    def __init__(self, body: ClientBody, scanner: PartScanner) -> None:
        self.model: str | None = None
        self.watch: Watch | None = None
        self._body = body
        self._scanner = scanner
        self._first = b""
        self._found: Found | None = None

    @property
    def ended(self) -> bool:
        """Its closing boundary was read, be there more of the body or not."""
        return self._scanner.ended

    async def read_first(self) -> None:
        """As far as its model, or FIRST_BYTES, or its end. Raises GatewayError or ClientGone."""
        pieces: list[bytes] = []
        size = 0
        while self.model is None and size < FIRST_BYTES and not (self.ended or self._body.ended):
            piece = await anext(self._body)
            pieces.append(piece)
            size += len(piece)
            self._see(piece)
        self._first = b"".join(pieces)

    def upload(self, offer: Offer) -> Upload:
        first, found, length = self._first, self._found, self._body.length
        if found is not None and offer.model != NONE:
            upstream = offer.target.upstream.encode()
            first = first[: found.start] + upstream + first[found.end :]
            if length is not None:
                length += len(upstream) - len(found.value)
        self._first = first
        return Upload(self, length)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        piece = await anext(self._body)
        self._see(piece)
        return piece

    def _see(self, piece: bytes) -> None:
        """Before it is passed on. Raises GatewayError, so that the provider never has the end."""
        found = self._scanner.feed(piece)
        if found and (self._found is not None or len(found) > 1):
            raise BadRequest(_TWICE, param="model")
        if found:
            self._found = found[0]
            self.model = _model_in(found[0].value)
            if self.watch is not None:
                self.watch.check(self.model)
        if self._scanner.ended:
            if self.model is None and self.watch is not None:
                self.watch.end()  # some providers wait for no more than the last boundary
        elif self._body.ended:
            raise BadRequest("The multipart body is malformed: its end is missing.")


def _model_in(value: bytes) -> str:
    """Raises BadRequest."""
    try:
        model = value.decode()
    except UnicodeDecodeError:
        raise BadRequest("'model' is not UTF-8.", param="model") from None
    if not model or len(model) > MAX_MODEL_LENGTH:
        raise BadRequest(
            f"'model' must be the name of a model, at most {MAX_MODEL_LENGTH} characters.",
            param="model",
        )
    return model
