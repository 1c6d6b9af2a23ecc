"""A one-node Kubernetes in namespaces of its own: hack/cluster-up, cluster-down and cluster-run."""
