"""HTTP's server side: endpoints, bounded bodies, envelopes, streams to clients."""
