"""Keys with limits and the limiter that counts them, on whatever clock the event loop has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from runestone_contract.config import Budget, Limits
from runestone_sidecar.admit.limits import Need
from runestone_sidecar.admit.local_limits import LocalLimiter, LocalReservation
from runestone_sidecar.config.build import build_principal
from runestone_sidecar.errors import LimitReached
from runestone_testing import bundles

if TYPE_CHECKING:
    from runestone_sidecar.config.snapshot import Principal

ONE = Need(tokens=1, cost_picodollars=1)
DOLLAR = 10**12


def key(name: str = "app", /, **limits: Any) -> Principal:
    return build_principal(bundles.key(name, limits=Limits(**limits)))


def budget(dollars: float, period: str = "Day") -> Budget:
    return Budget(picodollars=int(dollars * DOLLAR), period=period)


def limiter() -> LocalLimiter:
    """On the clock of the loop."""
    return LocalLimiter(clock=asyncio.get_running_loop().time)


async def taken(limits: LocalLimiter, of: Principal, need: Need = ONE) -> LocalReservation:
    found = await limits.reserve(of, need)
    assert found is not None
    return found


async def refused(limits: LocalLimiter, of: Principal, need: Need = ONE) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        await limits.reserve(of, need)
    return caught.value


def remaining(limits: LocalLimiter, of: Principal) -> dict[str, int]:
    return {state.kind: state.remaining for state in limits.state(of)}
