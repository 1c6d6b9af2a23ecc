"""The person's command: the resources from files instead of a cluster, and a gateway on top."""
