"""Bundles on disk as kubelet would mount them, and small configurations to put into them."""

import itertools
import os
from collections.abc import Mapping
from pathlib import Path

from runestone_contract.bundle import encode
from runestone_contract.canonical import digest
from runestone_contract.config import (
    Config,
    Key,
    KeyHash,
    Model,
    Policy,
    Pool,
    Prices,
    Provider,
    Retry,
    Rule,
    Target,
    Timeouts,
)
from runestone_contract.names import DATA_LINK
from runestone_sidecar.config.build import Credentials, assemble, build_pool, build_principal
from runestone_sidecar.config.loader import Parts
from runestone_sidecar.config.snapshot import Snapshot

CLIENT_KEY = "sk-rs-test-0123456789abcdefghijklmnopqrstuvwxyz"
PROVIDER_KEY = "sk-provider-secret-000000000000"
_generations = itertools.count()


def swap(directory: Path, files: dict[str, bytes]) -> None:
    """Puts the files into `directory` in one step, by kubelet's `..data` link."""
    directory.mkdir(parents=True, exist_ok=True)
    data = directory / f"..gen-{next(_generations)}"
    data.mkdir()
    for name, content in files.items():
        (data / name).write_bytes(content)
        visible = directory / name
        if not visible.is_symlink():
            visible.symlink_to(Path(DATA_LINK) / name)
    link = directory / f"{DATA_LINK}_tmp"
    link.symlink_to(data.name)
    os.replace(link, directory / DATA_LINK)


def publish(root: Path, config: Config, credentials: dict[str, str] | None = None) -> str:
    """Writes `root`/config and `root`/credentials; the bundle's digest."""
    bundle = encode(config)
    entries = {"cred-a": PROVIDER_KEY} if credentials is None else credentials
    swap(root / "credentials", {name: value.encode() for name, value in entries.items()})
    swap(root / "config", bundle.files())
    return bundle.digest


def provider(
    url: str,
    *,
    name: str = "main",
    dialect: str = "OpenAI",
    models: tuple[str, ...] = ("gpt-4o-mini",),
    priority: int = 0,
    credentials: tuple[str, ...] = ("cred-a",),
    timeouts: Timeouts | None = None,
    retry: Retry | None = None,
) -> Provider:
    return Provider(
        name=name,
        dialect=dialect,
        base_url=url,
        credentials=credentials,
        priority=priority,
        models=tuple(model(each) for each in models),
        timeouts=timeouts or Timeouts(),
        retry=retry or Retry(max_attempts=1),
    )


def model(name: str, *, upstream: str | None = None) -> Model:
    return Model(
        name=name,
        upstream=upstream or name,
        context_window=128_000,
        max_output_tokens=4096,
        prices=Prices(input=150_000, output=600_000, cached_input=75_000),
    )


def key(
    name: str = "app",
    *,
    secret: str = CLIENT_KEY,
    fields: Mapping[str, object] | None = None,
    **more: object,
) -> Key:
    return Key.model_validate(
        {
            "id": f"shop/{name}",
            "tenant": "team",
            "hashes": [KeyHash(sha256=digest(secret.encode()))],
            **(fields or {}),
            **more,
        }
    )


def config(
    *providers: Provider,
    keys: tuple[Key, ...] | None = None,
    policy: Policy | None = None,
    pools: tuple[Pool, ...] | None = None,
) -> Config:
    """One pool of the providers, one key, and a policy that sends everything there."""
    pools = (Pool(id="shop/pool", providers=providers),) if pools is None else pools
    everything = Rule(name="all", targets=tuple(Target(pool=pool.id) for pool in pools))
    return Config(
        namespace="shop",
        pools=pools,
        keys=(key(),) if keys is None else keys,
        policies=(policy or Policy(id="shop/-", default=True, rules=(everything,)),),
    )


def snapshot(config: Config, credentials: Credentials) -> Snapshot:
    """What the sidecar's loader makes of the files of this configuration, without files."""
    parts = Parts()
    for record in config.records():
        parts.add(build_principal(record) if isinstance(record, Key) else record)
    return assemble(
        digest="",
        credentials=credentials.digest,
        namespace=config.namespace,
        pools=[build_pool(pool, credentials) for pool in parts.pools],
        policies=parts.policies,
        keys=parts.keys,
        service_accounts=parts.service_accounts,
        webhook_secrets=credentials.values,
    )
