"""Authorization by others: what a third party's package adds under `runestone.auth`.

An entry point of that group is a callable from a request's headers to the name of the ApiKey that
the request acts for. It is asked only where RUNESTONE_AUTH names it, in that order; None means that
it has nothing to say, and where none has, the gateway's own look-up decides. It runs on the event
loop: what it needs from elsewhere (a key set, say) it must have fetched before.
"""

import importlib.metadata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from runestone_sidecar.admit.auth import Headers, authenticate, usable
from runestone_sidecar.config.snapshot import Principal, Snapshot
from runestone_sidecar.errors import Unauthorized, UnknownKey
from runestone_sidecar.settings import SettingsError

GROUP: Final = "runestone.auth"

Identify = Callable[[Headers], str | None]
"""Lower-case header names and values as they came -> "name" or "namespace/name" of an ApiKey, or
None. A PermissionError refuses the request with 401; its text is not told."""


def load_plugins(names: Iterable[str]) -> tuple[Identify, ...]:
    """Raises SettingsError for a name that no installed package provides."""
    found = []
    for name in names:
        entries = importlib.metadata.entry_points(group=GROUP, name=name)
        if not entries:
            raise SettingsError(f"RUNESTONE_AUTH: no installed package provides {name!r}")
        found.append(next(iter(entries)).load())
    return tuple(found)


@dataclass(slots=True)
class Authenticator:
    """Who a request acts for: plugins first, then the presented key."""

    service_account: str | None
    plugins: tuple[Identify, ...] = ()
    _indexed: Snapshot | None = None
    _by_id: dict[str, Principal] = field(default_factory=dict)

    def principal_of(self, snapshot: Snapshot, headers: Headers, *, now_s: float) -> Principal:
        """Raises Unauthorized, or BadRequest where two authorizations were sent."""
        for identify in self.plugins:
            try:
                name = identify(headers)
            except PermissionError:
                raise Unauthorized("The authorization of this request was refused.") from None
            if name is not None:
                return usable(self._named(snapshot, name), now_s)
        return authenticate(snapshot, headers, self.service_account, now_s)

    def _named(self, snapshot: Snapshot, name: str) -> Principal:
        if self._indexed is not snapshot:
            self._by_id = {found.id: found for found in snapshot.keys.values()}
            self._indexed = snapshot
        found = self._by_id.get(name if "/" in name else f"{snapshot.namespace}/{name}")
        if found is None:
            raise UnknownKey("The authorization of this request names no ApiKey in force.")
        return found
