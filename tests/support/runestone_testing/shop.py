"""Resource files of a small shop: whole, and to be broken or edited line by line."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PROVIDER_KEY = "sk-canary-provider-0123456789abcdef"
CLIENT_KEY = "sk-rs-canary-client-0123456789abcdef"
NOWHERE = "http://127.0.0.1:9"

SECRETS = f"""\
apiVersion: v1
kind: Secret
metadata: {{name: keys}}
stringData:
  provider: {PROVIDER_KEY}
  client: {CLIENT_KEY}
"""
POOL = f"""\
apiVersion: runestone.dev/v1alpha1
kind: ProviderPool
metadata: {{name: pool}}
spec:
  providers:
  - name: demo
    type: OpenAI
    baseURL: {NOWHERE}/v1
    credentials:
    - secretRef: {{name: keys, key: provider}}
    models:
    - name: gpt-4o
    - name: gpt-4o-mini
"""
KEY = """\
apiVersion: runestone.dev/v1alpha1
kind: ApiKey
metadata: {name: app}
spec:
  tenant: shop
  secretRef: {name: keys, key: client}
"""
POLICY = """\
apiVersion: runestone.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: default}
spec:
  default: true
  aliases:
    smart: gpt-4o
  rules:
  - name: everything
    targets:
    - pool: pool
"""


@dataclass(frozen=True, slots=True)
class Shop:
    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(textwrap.dedent(text))

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.path / name).read_text()
        assert old in text, f"{name} has no {old!r}"
        (self.path / name).write_text(text.replace(old, new))


def make_shop(path: Path, *, provider: str = NOWHERE) -> Shop:
    """`provider` is the URL that the pool's only provider answers at."""
    path.mkdir()
    shop = Shop(path)
    documents = {"secrets": SECRETS, "pool": POOL, "key": KEY, "policy": POLICY}
    for name, text in documents.items():
        shop.write(f"{name}.yaml", text.replace(NOWHERE, provider))
    return shop
