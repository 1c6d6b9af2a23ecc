"""What a sidecar may say and hear within the account of its namespace: what it uses, and no more.

The account is the wall between namespaces; this bounds what a sidecar can do to its own. Names of
streams are left open: sidecars and operator are upgraded in any order, and a stream may be called
otherwise in the next version. It is written in the account and not in the user's token, so that a
change of it needs no new credentials.
"""

from typing import Any, Final

from runestone_contract.names import limits_bucket, nats_root

_API: Final = "$JS.API"
_USED: Final = (
    "STREAM.CREATE.*",
    "STREAM.UPDATE.*",
    "STREAM.INFO.*",
    "STREAM.PURGE.*",
    "STREAM.MSG.GET.*",
    "STREAM.MSG.DELETE.*",
    "DIRECT.GET.*",
    "DIRECT.GET.*.>",
    "CONSUMER.DURABLE.CREATE.*.*",
    "CONSUMER.INFO.*.*",
    "CONSUMER.MSG.NEXT.*.*",
)


def sidecar_permissions(namespace: str) -> dict[str, Any]:
    root, ledger = f"{nats_root(namespace)}.>", limits_bucket(namespace)
    return {
        "pub": {
            "allow": [
                root,
                f"$KV.{ledger}.>",
                *(f"{_API}.{verb}" for verb in _USED),
                "$JS.ACK.>",
            ],
            # What is used up of a limit is never forgotten before its time.
            "deny": [f"{_API}.STREAM.{verb}.KV_{ledger}" for verb in ("PURGE", "MSG.DELETE")],
        },
        "sub": {"allow": [root, "_INBOX.>"]},
    }
