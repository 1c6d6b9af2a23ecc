"""What the streams and subjects of a namespace's jobs are called.

A change of a stream's form that cannot be made in place gets a new version; all subjects begin with
the namespace, where a NATS user's rights end. Tokens are hexadecimal or ours: no wildcard gets in.
"""

import re
import secrets
from dataclasses import dataclass
from typing import Final

VERSION: Final = "v1"
JOB_ID: Final = re.compile(r"job_[0-9a-f]{40}")


def new_job_id() -> str:
    return f"job_{secrets.token_hex(20)}"


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
    def _root(self) -> str:
        return f"runestone.{self.namespace}.jobs"

    def work(self, owner: str) -> str:
        """Where requests wait; `*` for all owners."""
        return f"{self._root}.work.{owner}"

    def record(self, owner: str, job_id: str) -> str:
        return f"{self._root}.record.{owner}.{job_id}"

    def part(self, owner: str, job_id: str, attempt: int, number: int) -> str:
        """A piece of a result. Each attempt has its own: a late one overwrites nothing."""
        return f"{self._root}.part.{owner}.{job_id}.{attempt}.{number}"

    @property
    def kept(self) -> list[str]:
        return [f"{self._root}.record.*.*", f"{self._root}.part.*.*.*.*"]

    @property
    def wake(self) -> str:
        """Told when there may be something to do."""
        return f"{self._root}.wake"
