"""Amounts of money as clients and auditors read them."""


def usd(picodollars: int | None) -> str | None:
    """A decimal string; None where no price is known."""
    if picodollars is None:
        return None
    whole, rest = divmod(picodollars, 10**12)
    return f"{whole}.{rest:012d}".rstrip("0").removesuffix(".")
