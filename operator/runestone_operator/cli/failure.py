"""What ends a command: a sentence for the person who called it, and the exit code."""

from typing import Final

from runestone_operator.errors import OperatorError

FAILED: Final = 1
USAGE: Final = 2


class CommandError(OperatorError):
    def __init__(self, message: str, *, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
