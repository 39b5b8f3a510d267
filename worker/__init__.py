"""The worker: a trial to its outcome, and the thin Pyro service around it."""
