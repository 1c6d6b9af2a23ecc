"""What `runestone run` says once it serves: where to call, with which key, and lines to paste."""

import importlib.util
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runestone_operator.api.resource import ApiKey
from runestone_operator.cli.compiled import Build, ClientKey
from runestone_operator.cli.report import counted
from runestone_operator.cli.source.environment import CLIENT_KEY
from runestone_operator.cli.source.world import World

_SHOWN: Final = 6
_MASK_AFTER: Final = 8


@dataclass(frozen=True, slots=True)
class PastedKey:
    """A client key as it stands in a shell command and in Python, and how to tell it by name."""

    shell: str
    python: str
    shown: str


def pasted_key(key: ClientKey, *, file: Path, in_full: bool) -> PastedKey:
    """Where output may be kept, as in a log, the key itself stays out of it."""
    masked = f"{key.value[:_MASK_AFTER]}…"
    if in_full:
        return PastedKey(key.value, json.dumps(key.value), key.value)
    if key.is_generated:
        in_python = f"open({json.dumps(str(file))}).read().strip()"
        return PastedKey(f"$(cat {shlex.quote(str(file))})", in_python, f"{masked} in {file}")
    where = key.place if key.place.file != CLIENT_KEY else f"the variable {CLIENT_KEY}"
    return PastedKey(
        f"${CLIENT_KEY}",
        f'__import__("os").environ["{CLIENT_KEY}"]',
        f"{masked} from {where} (for the lines below: export {CLIENT_KEY}=...)",
    )


@dataclass(frozen=True, slots=True)
class Greeting:
    build: Build
    base_url: str  # without /v1
    health_url: str
    key: ClientKey
    pasted: PastedKey
    models: Sequence[str]  # that the key may chat with, the one to try first
    notes: Sequence[str] = ()

    def lines(self) -> list[str]:
        return [*self._facts(), "", *self._examples(), *self.notes]

    def _facts(self) -> Iterator[str]:
        config = self.build.compiled.config
        holds = f"{counted(len(config.pools), 'pool')}, {counted(len(config.keys), 'API key')}"
        yield ""
        yield (
            f"Runestone serves namespace {self.build.namespace}: {holds},"
            f" configuration {self.build.digest[:12]}"
        )
        yield f"  Base URL  {self.base_url}/v1"
        yield f"  API key   {self.pasted.shown} (ApiKey {self.key.name})"
        others = [key.name for key in self.build.client_keys if key.name != self.key.name]
        if others:
            yield f"            other ApiKeys: {_shortened(others)}"
        yield f"  Models    {_shortened(self.models) or 'none that this key may chat with'}"
        yield f"  Health    {self.health_url}/health/providers, {self.health_url}/metrics"

    def _examples(self) -> Iterator[str]:
        if not self.models:
            yield (
                "The key may use no chat model: `runestone explain` with the same files,"
                f" --key {self.key.name} and --model NAME says why."
            )
            yield ""
            return
        body: dict[str, object] = {
            "model": self.models[0],
            "messages": [{"role": "user", "content": "Say hello in one sentence."}],
        }
        yield "Try it with curl:"
        yield ""
        yield f"curl {self.base_url}/v1/chat/completions \\"
        yield f'  -H "Authorization: Bearer {self.pasted.shell}" \\'
        yield '  -H "Content-Type: application/json" \\'
        yield f"  -d '{json.dumps(body)}'"
        yield ""
        yield from self._sdk(body)

    def _sdk(self, body: dict[str, object]) -> Iterator[str]:
        has_sdk = importlib.util.find_spec("openai") is not None
        python = sys.executable if has_sdk else "python3"
        yield f"Or with the OpenAI SDK{'' if has_sdk else ' (pip install openai)'}:"
        yield ""
        yield f"{python} - <<'END'"
        yield "from openai import OpenAI"
        yield f'client = OpenAI(base_url="{self.base_url}/v1", api_key={self.pasted.python})'
        yield "answer = client.chat.completions.create("
        for name, value in body.items():
            yield f"    {name}={json.dumps(value)},"
        yield ")"
        yield "print(answer.choices[0].message.content)"
        yield "END"
        yield ""


def rotation_notes(world: World, namespace: str) -> list[str]:
    """A key here stays as it is: whoever tries something out would lose it between two calls."""
    names = [
        ref.name
        for ref, found in world.resources.items()
        if ref.namespace == namespace
        and isinstance(found.resource, ApiKey)
        and found.resource.spec.rotation is not None
    ]
    if not names:
        return []
    return [
        f"Keys are rotated in a cluster alone; here these stay as they are: {_shortened(names)}."
    ]


def _shortened(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    rest = len(names) - _SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown
