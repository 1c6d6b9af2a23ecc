"""Requests that are not answered now: jobs, kept in JetStream until a sidecar has run them."""
