"""The admission webhook: what the API server asks, and the server that it asks."""
