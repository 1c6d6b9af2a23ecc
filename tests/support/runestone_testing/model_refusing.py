"""Models of providers that a test has refuse once: each for one status, so that what a gateway
learns from it about that provider concerns no other test.
"""

REFUSED_STATUSES = (400, 401, 403, 422, 429, 500, 529)


def refused_name(dialect: str, status: int) -> str:
    return f"refused-{status}-{dialect}"
