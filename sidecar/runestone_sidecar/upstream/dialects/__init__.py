"""Wire formats of providers: a format, not a vendor, each a stranger to the others."""
