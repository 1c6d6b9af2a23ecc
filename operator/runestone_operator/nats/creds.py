"""A `.creds` file as NATS's clients read it: a user's token, and the seed that signs for it."""

import re
from typing import Final

from runestone_operator.errors import BadSeedError
from runestone_operator.nats.nkeys import KeyPair, Role

_SEED: Final = re.compile(rb"-+BEGIN USER NKEY SEED-+\s+(\S+)\s+-+END")
_FILE: Final = """\
-----BEGIN NATS USER JWT-----
{token}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------"""


def render(token: str, user: KeyPair) -> bytes:
    return _FILE.format(token=token, seed=user.seed).encode("ascii")


def read_user(content: bytes) -> KeyPair | None:
    found = _SEED.search(content)
    try:
        return KeyPair.parse(Role.USER, found[1].decode("ascii")) if found else None
    except (BadSeedError, UnicodeDecodeError):
        return None
