"""The three kinds of runestone.dev/v1alpha1 as pydantic models: the source of the CRDs.

Pure: knows no cluster, clock or network, only what a valid resource looks like.
"""
