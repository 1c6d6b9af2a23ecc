"""The client's own name of its user, in a form that the providers take.

OpenAI's vendors refuse what is long or holds other characters, Anthropic what looks like an e-mail
address or a telephone number. A hash says as much: the same user is the same id.
"""

import hashlib
import re
from typing import Final

_fits: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}").fullmatch
_looks_like_phone: Final = re.compile(r"[0-9_-]{7,}").fullmatch


def user_id_of(user: str) -> str:
    if _fits(user) and not _looks_like_phone(user):
        return user
    return hashlib.sha256(user.encode()).hexdigest()
