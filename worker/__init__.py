"""The worker: turns a trial into its outcome, and is a thin Pyro service around that."""
