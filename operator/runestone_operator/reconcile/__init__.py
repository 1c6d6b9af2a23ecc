"""When and in which order things are done for a namespace; what is done is in publish."""
