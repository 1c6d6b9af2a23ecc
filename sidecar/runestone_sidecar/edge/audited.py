"""The audit record of a request: its access line, what was decided, and what it cost.

Never what was said: of a request's body a record holds the model's name alone.
"""

from typing import Any

from runestone_contract.chain import REQUEST
from runestone_sidecar.edge.money import usd
from runestone_sidecar.pipeline.plan import Record


def audited(record: Record, line: dict[str, Any]) -> dict[str, Any]:
    entry = {
        "event": REQUEST,
        **line,
        "config": record.config,  # in full
        "decision": _decision(record),
    }
    del entry["message"], entry["level"]  # which every record has as its own
    if record.presented is not None:
        entry["presented"] = record.presented
    if (cost := record.cost_picodollars) is not None:
        entry["cost_usd"] = usd(cost)
    if record.client_gone:
        entry["client_gone"] = True
    return entry


def _decision(record: Record) -> str:
    """What the gateway decided; what a provider made of it is in the status."""
    if record.offer is not None or (not record.client_gone and record.status < 400):
        return "allowed"
    return "undecided" if record.client_gone else "denied"
