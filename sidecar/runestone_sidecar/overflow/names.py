"""What the streams and subjects of a namespace's jobs are called.

A change of a stream's form that cannot be made in place gets a new version; all subjects begin with
the namespace, where a NATS user's rights end. Tokens are hexadecimal or ours: no wildcard gets in.
"""

import re
import secrets
from dataclasses import dataclass
from typing import Final

from runestone_contract.names import nats_root

VERSION: Final = "v1"
JOB_ID: Final = re.compile(r"job_[0-9a-f]{40}")
_MESSAGE_ID: Final = re.compile(r"(job_[0-9a-f]{40})\.([0-9]{1,16})\.([0-9]{1,9})")


def new_job_id() -> str:
    return f"job_{secrets.token_hex(20)}"


@dataclass(frozen=True, slots=True)
class Brought:
    """What a message of the queue brings. One that is sent twice is stored once: so an id that was
    free again, and a job that is tried anew, need another."""

    job_id: str
    created_ms: int
    run: int  # how often it was tried anew

    @property
    def message_id(self) -> str:
        return f"{self.job_id}.{self.created_ms}.{self.run}"


def read_message_id(text: str) -> Brought | None:
    found = _MESSAGE_ID.fullmatch(text)
    return Brought(found[1], int(found[2]), int(found[3])) if found else None


@dataclass(frozen=True, slots=True)
class Names:
    namespace: str

    @property
    def queue(self) -> str:
        return f"runestone-jobs-{VERSION}-{self.namespace}"

    @property
    def records(self) -> str:
        return f"runestone-job-records-{VERSION}-{self.namespace}"

    @property
    def webhooks(self) -> str:
        return f"runestone-job-webhooks-{VERSION}-{self.namespace}"

    @property
    def _root(self) -> str:
        return f"{nats_root(self.namespace)}.jobs"

    def work(self, owner: str) -> str:
        """Where requests wait; `*` for all owners."""
        return f"{self._root}.work.{owner}"

    def record(self, owner: str, job_id: str) -> str:
        return f"{self._root}.record.{owner}.{job_id}"

    def part(self, owner: str, job_id: str, attempt: int, number: int) -> str:
        """A piece of a result. Each attempt has its own: a late one overwrites nothing."""
        return f"{self._root}.part.{owner}.{job_id}.{attempt}.{number}"

    def parts(self, owner: str, job_id: str) -> str:
        """All of them."""
        return f"{self._root}.part.{owner}.{job_id}.*.*"

    def request(self, owner: str, job_id: str) -> str:
        """The request of a job that failed, for as long as it may be tried anew."""
        return f"{self._root}.request.{owner}.{job_id}"

    @property
    def kept(self) -> list[str]:
        root = self._root
        return [f"{root}.record.*.*", f"{root}.part.*.*.*.*", f"{root}.request.*.*"]

    def webhook(self, owner: str) -> str:
        """Where webhooks wait; `*` for all owners."""
        return f"{self._root}.webhook.{owner}"

    @property
    def wake(self) -> str:
        """Told when there may be something to do."""
        return f"{self._root}.wake"

    def at_work(self, worker: str) -> str:
        """Where that worker answers which jobs it runs."""
        return f"{self._root}.at-work.{worker}"

    def said(self, token: str) -> str:
        """Where one such answer goes."""
        return f"{self._root}.said.{token}"

    @property
    def webhook_wake(self) -> str:
        return f"{self._root}.webhook-wake"
