"""What a nats-server must be told to trust the operator: a part of its configuration, to include.

Tokens only: there is nothing secret in it. The same trust gives the same bytes.
"""

import json
from typing import Final

from runestone_operator.nats.trust import Trust

_AUTH: Final = """\
operator: {operator}
system_account: {system}
resolver {{
  type: full
  dir: {folder}
  allow_delete: true
  hard_delete: true
}}
resolver_preload {{
  {system}: {system_token}
}}
"""


def auth_config(trust: Trust, folder: str) -> str:
    """`folder` is where the server keeps the accounts that it is told of later."""
    return _AUTH.format(
        operator=trust.operator_token(),
        system=trust.system.public,
        system_token=trust.system_token(),
        folder=json.dumps(folder),
    )
