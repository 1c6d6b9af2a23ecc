"""`runestone run`: compile, serve, watch the files, and keep the child processes alive."""
