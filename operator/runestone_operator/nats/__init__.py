"""The accounts of a NATS server, one for each namespace: keys, tokens, and the way to the server.

Knows nothing of Kubernetes. An account is NATS's own wall: subjects, streams and consumers of one
do not exist for another. Permissions within one account would not do: who may create a stream or a
consumer of his own can have it mirror, source or deliver what he may not read.
"""
