"""`runestone-operator`: settings from the environment, logs on stdout, an exit code."""

import asyncio
import logging
import sys

from runestone_operator.app import run_operator
from runestone_operator.errors import SettingsError, WatchEndedError
from runestone_operator.log import configure_logging
from runestone_operator.settings import read_settings

log = logging.getLogger(__name__)


def main() -> None:
    try:
        settings = read_settings()
        configure_logging(settings.log_level)
        asyncio.run(run_operator(settings))
    except SettingsError as error:
        sys.exit(f"runestone-operator: {error}")
    except WatchEndedError as error:
        message = "the watch has ended, the process must be started anew"
        log.error(message, exc_info=error, extra={"cause": error.cause})
        sys.exit(1)
    except Exception:
        log.exception("failed")
        sys.exit(1)


if __name__ == "__main__":
    main()
