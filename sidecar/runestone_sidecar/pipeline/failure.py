"""One failed call to a provider: what it was, and what the client is told if it was the last."""

from runestone_sidecar.admit.availability import Held, all_held
from runestone_sidecar.config.snapshot import Offer
from runestone_sidecar.errors import (
    GatewayError,
    NoProvider,
    ProviderRefused,
    RateLimited,
    UpstreamFailed,
    UpstreamTimeout,
)
from runestone_sidecar.pipeline.verdicts import (
    CONTENT_REFUSED,
    LARGER_THAN_LIMIT,
    OUT_OF_TIME,
    PASSED_OVER,
    Row,
    Verdict,
    retry_after_s,
    row_of_fault,
    row_of_status,
)
from runestone_sidecar.upstream import faults
from runestone_sidecar.upstream.dialects.base import ProviderError
from runestone_sidecar.upstream.origin import Deadlines
from runestone_sidecar.upstream.response import Response

SHORT_S = 10.0  # a rule that gives less time judges itself, not the provider


class AttemptFailed(Exception):
    def __init__(
        self, row: Row, outcome: str, error: GatewayError, *, wait_s: float | None = None
    ) -> None:
        super().__init__(outcome)
        self.row = row
        self.outcome = outcome  # a closed set: it is a metric's label
        self.error = error
        self.wait_s = wait_s  # as the provider asked
        self.final = False  # the request is used up: nobody can be asked again


def of_refusal(response: Response, said: ProviderError) -> AttemptFailed:
    """An answer that is no 200."""
    status = response.status
    row = row_of_status(status, said.code)
    wait_s = retry_after_s(response.header(b"retry-after"), response.header(b"retry-after-ms"))
    error: GatewayError
    if row.verdict is Verdict.CLIENT:
        error = ProviderRefused(
            said.message,
            param=said.param,
            code=said.code,
            provider_status=400 if row is CONTENT_REFUSED else status,  # a 403 is about a key
            provider_type=said.type,
        )
    elif row.verdict is Verdict.LIMITED or row is LARGER_THAN_LIMIT:
        error = RateLimited("The provider's rate limit is reached.", retry_after_s=wait_s)
    else:
        ours = row.verdict is Verdict.CREDENTIAL
        did = "refused the gateway's own key:" if ours else "answered with"
        error = UpstreamFailed(f"The provider {did} status {status}.", retry_after_s=wait_s)
    return AttemptFailed(row, f"status_{status}", error, wait_s=wait_s)


def of_fault(fault: faults.UpstreamFault, given: Deadlines, own: Deadlines) -> AttemptFailed:
    """`given`: what this call was given of the provider's `own` time."""
    late = (faults.ConnectTimeout, faults.FirstByteTimeout, faults.IdleTimeout, faults.TotalTimeout)
    row = row_of_fault(fault)
    if isinstance(fault, faults.TotalTimeout) and given is not own and given.total_s < SHORT_S:
        row = OUT_OF_TIME
    error: GatewayError
    if isinstance(fault, late):
        error = UpstreamTimeout("The provider did not answer in time.")
    elif isinstance(fault, faults.PoolExhausted):
        error = NoProvider("All connections to the provider are in use.", retry_after_s=1.0)
    elif isinstance(fault, faults.NotConnected):
        error = UpstreamFailed("The provider could not be reached.")
    else:
        error = UpstreamFailed("The connection to the provider was lost.")
    return AttemptFailed(row, fault.kind, error)


def of_holding(held: Held, offer: Offer) -> AttemptFailed:
    """It was to be tried when the request was routed, and is to be left alone by now."""
    return AttemptFailed(PASSED_OVER, held.reason, all_held((held,), offer.model))
