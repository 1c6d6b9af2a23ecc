"""What the sidecar says about itself on its health port."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import httpx

from runestone_contract.names import HEADER_REQUEST_ID
from runestone_operator.cli.run.logline import OWN_REQUEST_ID

_POLL_S: Final = 0.05
_ANSWER_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Applied:
    digest: str | None
    credentials: str | None
    refused: str | None


class Health:
    """`api_url` and `health_url` are without a trailing slash."""

    def __init__(self, api_url: str, health_url: str) -> None:
        self._api_url = api_url
        self._health_url = health_url
        self._client = httpx.AsyncClient(timeout=_ANSWER_TIMEOUT_S, trust_env=False)

    async def close(self) -> None:
        await self._client.aclose()

    async def ready(self) -> None:
        """Returns when it is."""
        while True:
            answer = await self._get(f"{self._health_url}/health/ready")
            if answer is not None and answer.status_code == 200:
                return
            await asyncio.sleep(_POLL_S)

    async def applied(self) -> Applied | None:
        """None where nobody answers."""
        answer = await self._get(f"{self._health_url}/health/config")
        if answer is None or answer.status_code != 200:
            return None
        said: dict[str, Any] = answer.json()
        return Applied(said.get("digest"), said.get("credentials"), said.get("refused"))

    async def chat_models(self, key: str) -> list[str]:
        """What this key may chat with."""
        headers = {"authorization": f"Bearer {key}", HEADER_REQUEST_ID: OWN_REQUEST_ID}
        answer = await self._get(f"{self._api_url}/v1/models", headers)
        if answer is None or answer.status_code != 200:
            return []
        models = answer.json()["data"]
        return [model["id"] for model in models if "Chat" in (model["capabilities"] or ("Chat",))]

    async def _get(self, url: str, headers: dict[str, str] | None = None) -> httpx.Response | None:
        try:
            return await self._client.get(url, headers=headers)
        except httpx.HTTPError:
            return None
