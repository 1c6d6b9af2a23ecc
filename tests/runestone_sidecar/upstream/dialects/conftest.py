"""Golden transcripts as a fixture."""

import pytest

from runestone_testing.golden import Golden


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Parametrized indirectly by the files of one folder."""
    return Golden(request.param)
