"""What clients speak: one module or group an API, each said through a chat where it must be."""
