"""One namespace's resources in, its configuration and a verdict on each resource out.

Pure: no I/O, clock, randomness or unordered iteration. Equal inputs give equal bytes.
"""
