"""NATS: the one place that knows its client. Imported only where NATS_URL names a server."""
