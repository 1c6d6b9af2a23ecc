"""The admission webhook's certificate: made, kept, rotated, and told to the API server."""
