"""Everything that the operator signs with, and the tokens that it signs: all from one secret seed.

Keys are derived and not stored. So there is nothing beside the one seed to lose, to leak or to be
torn between two writes, and two operators make the same. A namespace's account follows from the uid
of the namespace: one that is made again under its old name has another account, and sees nothing
of what the old one left.
"""

from dataclasses import dataclass
from typing import Any, Final

from runestone_operator.nats import creds, tokens
from runestone_operator.nats.limits import AccountLimits
from runestone_operator.nats.nkeys import KeyPair, Role
from runestone_operator.nats.permissions import sidecar_permissions

VERSION: Final = 2  # of NATS's tokens
# Of a user's token. It is always the same, so that the token follows from the user; without any, a
# server takes the token for a revoked one whenever its account is changed.
ISSUED_AT_S: Final = 1
NO_LIMIT: Final = -1
TAG: Final = "runestone"
_NAMESPACE: Final = "namespace:"
_UID: Final = "uid:"
_SYSTEM: Final = "runestone-system"
_TO_SYSTEM: Final = (
    "$SYS.REQ.CLAIMS.*",
    "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP",
    "$SYS.REQ.ACCOUNT.*.INFO",
    "$JS.API.ACCOUNT.PURGE.*",
)
_UNBOUNDED: Final = {"subs": NO_LIMIT, "data": NO_LIMIT, "payload": NO_LIMIT}


@dataclass(frozen=True, slots=True)
class Home:
    """A namespace, as it is and not as one of the same name that was before or will come."""

    namespace: str
    uid: str


@dataclass(frozen=True, slots=True)
class Trust:
    operator: KeyPair

    @property
    def system(self) -> KeyPair:
        """Of the account that may change the others."""
        return self.operator.derive(Role.ACCOUNT, "system")

    def account(self, home: Home) -> KeyPair:
        return self.operator.derive(Role.ACCOUNT, "account", home.uid)

    def _signer(self, home: Home, user: str) -> KeyPair:
        """Signs for one user alone: where the account drops it, that user is out."""
        return self.operator.derive(Role.ACCOUNT, "signer", home.uid, user)

    # -- what the server is told at its start --

    def operator_token(self) -> str:
        public = self.operator.public
        facts = _typed("operator", system_account=self.system.public)
        return tokens.encode(self.operator, {"sub": public, "name": "runestone", "nats": facts})

    def system_token(self) -> str:
        limits = _UNBOUNDED | {"conn": NO_LIMIT, "imports": NO_LIMIT, "exports": NO_LIMIT}
        facts = _typed("account", limits=limits | {"wildcards": True})
        claims = {"sub": self.system.public, "name": _SYSTEM, "nats": facts}
        return tokens.encode(self.operator, claims)

    # -- our own way in --

    def system_user(self) -> KeyPair:
        return self.operator.derive(Role.USER, "system user")

    def system_user_token(self) -> str:
        allowed = {"pub": {"allow": list(_TO_SYSTEM)}, "sub": {"allow": ["_INBOX.>"]}}
        facts = _typed("user", **allowed, **_UNBOUNDED)
        return tokens.encode(self.system, _user(self.system_user(), "runestone-operator", facts))

    # -- a namespace --

    def issue(self, home: Home) -> bytes:
        """New credentials for the sidecars of a namespace."""
        return self._credentials(home, KeyPair.generate(Role.USER))

    def user_of(self, home: Home, credentials: bytes) -> str | None:
        """Whom they let in; None where they are not, to the byte, what we issue."""
        user = creds.read_user(credentials)
        if user is None or self._credentials(home, user) != credentials.strip():
            return None
        return user.public

    def _credentials(self, home: Home, user: KeyPair) -> bytes:
        facts = _typed("user", issuer_account=self.account(home).public)
        token = tokens.encode(self._signer(home, user.public), _user(user, "sidecar", facts))
        return creds.render(token, user)

    def account_claims(self, home: Home, user: str, limits: AccountLimits) -> dict[str, Any]:
        """Nobody but this user gets in, and nothing goes out or comes in by export or import."""
        scope = {
            "kind": "user_scope",
            "key": self._signer(home, user).public,
            "role": "sidecar",
            "description": "",
            "template": {
                **sidecar_permissions(home.namespace),
                **_UNBOUNDED,
                "allowed_connection_types": ["STANDARD"],
            },
        }
        bounds = {
            "mem_storage": limits.memory_bytes,
            "disk_storage": limits.disk_bytes or NO_LIMIT,
            "streams": limits.streams,
            "consumer": limits.consumers,
            "conn": limits.connections,
        }
        facts = _typed(
            "account",
            limits=_UNBOUNDED | bounds | {"disallow_bearer": True},
            signing_keys=[scope],
            tags=[TAG, f"{_NAMESPACE}{home.namespace}", f"{_UID}{home.uid}"],
        )
        public = self.account(home).public
        return {"sub": public, "iss": self.operator.public, "name": home.namespace, "nats": facts}

    def sign_account(self, claims: tokens.Claims, *, issued_at_s: int) -> str:
        return tokens.encode(self.operator, claims, issued_at_s=issued_at_s)

    def removal(self, account: str, *, issued_at_s: int) -> str:
        """What the server takes as the order to remove an account."""
        claims = {"sub": self.operator.public, "nats": _typed("generic", accounts=[account])}
        return tokens.encode(self.operator, claims, issued_at_s=issued_at_s)


def home_of(claims: tokens.Claims) -> Home | None:
    """The namespace that an account is for; None for one that is not ours."""
    tags = (claims.get("nats") or {}).get("tags") or []
    names = [tag.removeprefix(_NAMESPACE) for tag in tags if tag.startswith(_NAMESPACE)]
    uids = [tag.removeprefix(_UID) for tag in tags if tag.startswith(_UID)]
    if TAG not in tags or len(names) != 1 or len(uids) != 1:
        return None
    return Home(names[0], uids[0])


def _user(user: KeyPair, name: str, facts: tokens.Claims) -> tokens.Claims:
    return {"sub": user.public, "name": name, "iat": ISSUED_AT_S, "nats": facts}


def _typed(type_: str, **facts: Any) -> dict[str, Any]:
    return {"type": type_, "version": VERSION, **facts}
