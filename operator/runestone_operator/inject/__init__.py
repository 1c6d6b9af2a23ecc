"""What becomes of a pod that asks for a sidecar. Pure: pod and facts in, pod or reason out."""
