"""The data plane: one process in every application pod, fed by files, speaking the OpenAI API."""
