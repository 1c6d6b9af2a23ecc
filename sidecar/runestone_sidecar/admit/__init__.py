"""Who asks, and where the request may go: decided from the Snapshot before anyone is called."""
