"""The data path: prepare decides, execute calls providers. Neither knows HTTP's server side."""
