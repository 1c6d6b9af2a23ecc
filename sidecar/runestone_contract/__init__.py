"""What crosses from the control plane to the data plane, and nothing else.

The operator writes it, the sidecar reads it; neither imports the other. Depends on pydantic and
the standard library alone, so that either side can be tested without the other's dependencies.
"""
