"""Which of a provider's credentials are not to be used just now, and until when.

A refused key is of one credential, a rate limit and a refused model of a credential and that model
(who asks a model too often leaves the others to the rest), an overload of the provider as a whole.
Credentials are known by a hash of their value: a new value has no past.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_PAUSE_S: Final = 600.0  # a provider may ask for a day; one call in ten minutes finds out


class Reason(StrEnum):
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    REFUSED = "refused"  # the key is not accepted: used only where there is no other


# How long where the provider does not say.
DEFAULT_S: Final = {Reason.RATE_LIMITED: 1.0, Reason.OVERLOADED: 1.0, Reason.REFUSED: 60.0}

Whose = str | tuple[str, str] | None  # a credential, one with a model, the whole provider


@dataclass(slots=True)
class Pause:
    reason: Reason
    until_s: float


class Cooldowns:
    """Of one provider; falsy while all is well. A pause that is over stays until a success."""

    __slots__ = ("_pauses",)

    def __init__(self) -> None:
        self._pauses: dict[Whose, Pause] = {}

    def __bool__(self) -> bool:
        return bool(self._pauses)

    def pause(self, whose: Whose, reason: Reason, wait_s: float | None, now_s: float) -> bool:
        """Whether this is news, and not once more what was known of it."""
        until_s = now_s + min(DEFAULT_S[reason] if wait_s is None else wait_s, MAX_PAUSE_S)
        known = self._pauses.get(whose)
        if known is not None and known.reason is reason:
            known.until_s = max(known.until_s, until_s)
            return False
        self._pauses[whose] = Pause(reason, until_s)
        return True

    def succeeded(self, credential: str, model: str) -> bool:
        """It answered: nothing is held against it. Whether anything was."""
        found = [self._pauses.pop(whose, None) for whose in (None, credential, (credential, model))]
        return any(found)

    def keep(self, credentials: Collection[str]) -> None:
        """Forgets those that are no longer configured."""
        for whose in [*self._pauses]:
            credential = whose[0] if isinstance(whose, tuple) else whose
            if credential is not None and credential not in credentials:
                del self._pauses[whose]

    def clear(self) -> None:
        self._pauses.clear()

    def pick(
        self, credentials: Sequence[str], model: str, now_s: float, *, tried: Sequence[int] = ()
    ) -> int | None:
        """Which to use, by position: the first that is well, else the first that was refused.

        None where all that were not tried are to be left alone.
        """
        whole = self._pauses.get(None)
        if whole is not None and now_s < whole.until_s:
            return None
        refused = None
        for position, credential in enumerate(credentials):
            if position in tried:
                continue
            pause = self._active(credential, model, now_s)
            if pause is None:
                return position
            if pause.reason is Reason.REFUSED and refused is None:
                refused = position
        return refused

    def refused(self, credentials: Sequence[str], model: str, now_s: float) -> bool:
        """Whether a call could be made, but only with a credential that was refused before."""
        position = self.pick(credentials, model, now_s)
        return (
            position is not None and self._active(credentials[position], model, now_s) is not None
        )

    def wait_s(self, credentials: Sequence[str], now_s: float, model: str | None = None) -> float:
        """Until a credential need not be left alone for the model, nor the provider as a whole;
        without a model, for any."""
        soonest_s = min(self._longest_s(credential, model) for credential in credentials)
        return max(0.0, self._until_s(None) - now_s, soonest_s - now_s)

    def overloaded(self, now_s: float) -> bool:
        return now_s < self._until_s(None)

    def _active(self, credential: str, model: str, now_s: float) -> Pause | None:
        for whose in (credential, (credential, model)):
            pause = self._pauses.get(whose)
            if pause is not None and now_s < pause.until_s:
                return pause
        return None

    def _longest_s(self, credential: str, model: str | None) -> float:
        found = [self._until_s(credential)]
        for whose, pause in self._pauses.items():
            if isinstance(whose, tuple) and whose[0] == credential and model in {None, whose[1]}:
                found.append(pause.until_s)
        return max(found)

    def _until_s(self, whose: Whose) -> float:
        pause = self._pauses.get(whose)
        return 0.0 if pause is None else pause.until_s
