"""Webhooks: what became of a job, posted to where its client asked for, at least once."""
