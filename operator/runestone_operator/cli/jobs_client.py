"""A sidecar's `/v1/jobs`, asked by a person: each way in which that can fail is said in words."""

import os
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from runestone_contract.names import API_PORT
from runestone_operator.cli.failure import USAGE, CommandError

if TYPE_CHECKING:
    import httpx

TIMEOUT_S: Final = 60.0
PAGE: Final = 1_000
_URLS: Final = ("RUNESTONE_URL", "OPENAI_BASE_URL")
_KEY: Final = "RUNESTONE_API_KEY"
_HERE: Final = frozenset({"127.0.0.1", "localhost", "::1"})  # no proxy leads there


class JobsRefused(CommandError):
    """Of one job; others may go on."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def address(given: str | None, env: Mapping[str, str] = os.environ) -> str:
    """Where the API is, without `/v1`. Raises CommandError."""
    url = given or next((env[name] for name in _URLS if env.get(name)), "")
    url = (url or f"http://127.0.0.1:{API_PORT}").rstrip("/").removesuffix("/v1")
    if not url.startswith(("http://", "https://")):
        raise CommandError(f"not a URL with http:// or https://: {url}", exit_code=USAGE)
    return url


def secret(given: str | None, env: Mapping[str, str] = os.environ) -> str:
    """Raises CommandError."""
    key = given or env.get(_KEY, "")
    if not key:
        raise CommandError(f"no key: set {_KEY}, or give --key", exit_code=USAGE)
    if not (key.isascii() and key.isprintable()):
        raise CommandError("the key has characters that no key has", exit_code=USAGE)
    return key


class JobsClient:
    """Each call raises CommandError."""

    def __init__(self, url: str, key: str) -> None:
        # Other commands need not wait for it.
        import httpx  # noqa: PLC0415

        self._url = url
        self._errors = httpx.HTTPError
        try:
            self._client = httpx.Client(
                base_url=url,
                headers={"authorization": f"Bearer {key}"},
                timeout=TIMEOUT_S,
                # Proxies and authorities of one's own, as anything else here has them.
                trust_env=httpx.URL(url).host not in _HERE,
            )
        except httpx.InvalidURL as error:
            raise CommandError(f"not a URL: {url}", exit_code=USAGE) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        self._client.close()

    def list(self, filters: Mapping[str, str]) -> "list[dict[str, Any]]":
        """All of them. One that changes meanwhile may come twice: its last state counts."""
        found: dict[str, dict[str, Any]] = {}
        params = {"scope": "namespace", "limit": str(PAGE), **filters}
        while True:
            page = self._call("GET", "/v1/jobs", params)
            found |= {job["id"]: job for job in page["data"]}
            if not page["has_more"]:
                return [*found.values()]
            params["after"] = page["next"]

    def show(self, job_id: str) -> dict[str, Any]:
        return self._call("GET", _path(job_id))

    def retry(self, job_id: str) -> dict[str, Any]:
        return self._call("POST", f"{_path(job_id)}/retry")

    def cancel(self, job_id: str) -> dict[str, Any]:
        return self._call("DELETE", _path(job_id))

    def purge(self, filters: Mapping[str, str]) -> int:
        params, count = {"limit": str(PAGE), **filters}, 0
        while True:
            page = self._call("DELETE", "/v1/jobs", params)
            count += int(page["purged"])
            if not page["has_more"]:
                return count
            params["after"] = page["next"]

    def _call(
        self, method: str, path: str, params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            answer = self._client.request(method, path, params=params)
        except self._errors as error:
            reason = type(error).__name__
            raise CommandError(
                f"{self._url} cannot be reached ({reason}); is a sidecar there? --url or"
                f" {_URLS[0]} says where"
            ) from error
        body = _json(answer)
        if answer.status_code == 200 and body is not None:
            return body
        raise self._refusal(answer.status_code, (body or {}).get("error"))

    def _refusal(self, status: int, error: Any) -> CommandError:
        if not isinstance(error, dict):
            return CommandError(f"{self._url} does not answer as a sidecar does (status {status})")
        code, message = str(error.get("code")), str(error.get("message"))
        if status == 401:
            return CommandError(f"{self._url} does not accept the key: {message}")
        if status == 403:
            return CommandError("the key may not do this: its ApiKey needs the role Admin")
        if code == "unknown_url":
            return CommandError(f"{self._url} has no jobs: its sidecar runs without NATS_URL")
        if status in {404, 409}:
            return JobsRefused(message, code)
        return CommandError(f"{self._url} could not do it (status {status}, {code}): {message}")


def _path(job_id: str) -> str:
    """Raises JobsRefused: what is no id must not become another path."""
    if not (job_id.isascii() and job_id.replace("_", "").isalnum()):
        raise JobsRefused(f"not the id of a job: {job_id}", "job_not_found")
    return f"/v1/jobs/{job_id}"


def _json(answer: "httpx.Response") -> dict[str, Any] | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
