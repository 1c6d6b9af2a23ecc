"""What may come of asking NATS: what was surely not done is Refused, what may have been Unsure."""

import contextlib
from collections.abc import Iterator
from typing import Final

from nats.errors import Error, NoRespondersError

# Of a connection: uvloop has a RuntimeError for who writes to one that was closed just now, and the
# client hands it on.
LOST: Final = (TimeoutError, OSError, Error, RuntimeError)


class BrokerError(Exception):
    """The root of what may come of asking."""


class Away(BrokerError):
    """There is no connection: nothing was asked."""


class Unsure(BrokerError):
    """No answer came; what was asked for may have happened."""


class Refused(BrokerError):
    """The server did not do it."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class WrongRevision(Refused):
    """Somebody else has written since."""


class Full(Refused):
    """There is no room for it."""


class Missing(Refused):
    """There is no such stream or consumer (any more)."""


class NameInUse(Refused):
    """There is one of that name, and it is not like that."""


class Unfit(Refused):
    """What is there cannot be changed to be as it should."""

    def __init__(self, code: int, name: str) -> None:
        super().__init__(code)
        self.name = name


@contextlib.contextmanager
def told() -> Iterator[None]:
    """In our words. Raises Missing where nobody listens, else Unsure."""
    try:
        yield
    except NoRespondersError as error:
        raise Missing(503) from error
    except LOST as error:
        raise Unsure from error
