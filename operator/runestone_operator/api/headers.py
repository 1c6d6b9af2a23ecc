"""Which headers a resource may set on a request, or match one by."""

from typing import Annotated, Any

from pydantic import Field

from runestone_operator.api.model import Keeps
from runestone_operator.api.names import HeaderName, HeaderValue
from runestone_operator.api.rules import Rule, quoted

# Keys belong into Secrets; in a resource anyone who may read it would have them.
CREDENTIAL_HEADERS = (
    "authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key",
    "cookie", "set-cookie",
)  # fmt: skip
# The sidecar's own: hop by hop, or bound to the body that it sends.
OWN_HEADERS = (
    "connection", "keep-alive", "proxy-authenticate", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "host", "content-length", "content-type",
    "content-encoding", "accept-encoding", "expect",
)  # fmt: skip


def _without(names: tuple[str, ...], message: str) -> Keeps:
    def holds(headers: dict[str, Any]) -> bool:
        return headers.keys().isdisjoint(names)

    return Keeps((Rule(f"!self.exists(name, name in {quoted(names)})", message, holds),))


ProviderHeaders = Annotated[
    dict[HeaderName, HeaderValue],
    Field(max_length=32),
    _without(CREDENTIAL_HEADERS, "keys do not belong into headers: use credentials"),
    _without(OWN_HEADERS, "hop-by-hop headers, host, content-* and expect are set by the sidecar"),
]
MatchHeaders = Annotated[
    dict[HeaderName, HeaderValue],
    Field(max_length=16),
    _without(CREDENTIAL_HEADERS, "a rule cannot match by a header that carries a key"),
]
