"""ApiKeys by their ids, as the configuration of now has them: for whom a job's client is gone."""

from dataclasses import dataclass, field

from runestone_sidecar.config.holder import Holder
from runestone_sidecar.config.snapshot import Principal, Snapshot


@dataclass(slots=True)
class Principals:
    holder: Holder
    _of: Snapshot | None = None
    _by_id: dict[str, Principal] = field(default_factory=dict)

    def find(self, key_id: str) -> Principal | None:
        """Let in or not."""
        snapshot = self.holder.current
        if snapshot is not None and snapshot is not self._of:
            self._by_id = {
                found.id: found
                for by in (snapshot.keys, snapshot.service_accounts)
                for found in by.values()
            }
            self._of = snapshot
        return self._by_id.get(key_id)
