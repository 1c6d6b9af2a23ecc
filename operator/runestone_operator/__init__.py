"""The control plane: Kubernetes resources (or files) in, compiled configuration out."""
