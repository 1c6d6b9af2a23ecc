"""Does what we believe about the cluster still follow the cluster, and who is told."""
