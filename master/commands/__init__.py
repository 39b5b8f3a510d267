"""The master's commands of ``run_bohb.py``."""
