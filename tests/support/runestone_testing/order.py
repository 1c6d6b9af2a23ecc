"""In which order files of tests run: those that start processes first, for they take their time.

A file is one worker's, and of few tests each is long, as a rule. What comes last are files of many
short ones, so that all workers are busy to the end.
"""

from collections import Counter
from collections.abc import Iterable

SLOW = ("tests/integration/", "tests/charts/", "tests/crds/", "tests/compat/", "tests/faults/")


def in_order(files: Iterable[str]) -> list[str]:
    """Of each test its file; the files as they are to run."""
    counts = Counter(files)
    return sorted(counts, key=lambda file: (not file.startswith(SLOW), counts[file], file))
