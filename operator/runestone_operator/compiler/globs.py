"""Model names with `*` and `?`, read as the data plane reads them: whole name, case counts."""

import fnmatch
import functools
import re
from collections.abc import Sequence


def unmatched(globs: Sequence[str], names: frozenset[str]) -> list[str]:
    """The globs that match none of the names: most likely a mistake."""
    return [glob for glob in globs if not _matches_any(glob, names)]


@functools.lru_cache(maxsize=4096)
def _matches_any(glob: str, names: frozenset[str]) -> bool:
    pattern = re.compile(fnmatch.translate(glob))
    return any(pattern.match(name) for name in names)
