"""Everything the operator writes into the cluster, and the one client that it writes with."""
