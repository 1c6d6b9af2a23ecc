"""From mounted files to the Snapshot that requests read."""
