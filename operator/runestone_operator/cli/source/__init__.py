"""Where resources come from without a cluster: YAML files, or a few environment variables."""
