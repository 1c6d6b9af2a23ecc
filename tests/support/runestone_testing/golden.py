"""Golden transcripts: a YAML file of two documents, what is given and what comes of it.

`REFRESH_GOLDEN=1 pytest …` writes the second document anew; read the difference before committing.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runestone_sidecar.upstream.dialects.base import ModelTarget, Request

_BETWEEN = "\n---\n"


class _Dumper(yaml.SafeDumper):
    """Keeps the order of keys, and shows lines as lines."""


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


@dataclass(frozen=True)
class Golden:
    path: Path

    @property
    def given(self) -> dict[str, Any]:
        return self._documents()[0]  # type: ignore[no-any-return]

    @property
    def request(self) -> Request:
        given = self.given
        body = {"model": "claude", **given.get("client", {})}
        return Request(
            body=body,
            model=body["model"],
            stream=body.get("stream", False),
            request_id="req-1",
            created_s=1_700_000_000,
        )

    @property
    def target(self) -> ModelTarget:
        return ModelTarget(self.given["upstream"], self.given.get("max_output_tokens"))

    @property
    def expected(self) -> dict[str, Any]:
        return self._documents()[1]  # type: ignore[no-any-return]

    def check(self, actual: Any) -> None:
        if os.environ.get("REFRESH_GOLDEN"):
            text = yaml.dump(actual, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
            given, between, _ = self.path.read_text().partition(_BETWEEN)
            self.path.write_text((given if between else given[:-1]) + _BETWEEN + text)
        documents = self._documents()
        assert len(documents) == 2, "no expectation yet: run with REFRESH_GOLDEN=1"
        assert actual == documents[1]

    def _documents(self) -> list[Any]:
        return list(yaml.safe_load_all(self.path.read_text()))
