"""The way to a provider: connections and pools, wire dialects, one attempt and its verdict."""
