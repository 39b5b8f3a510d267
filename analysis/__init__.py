"""What a run's results mean: trajectories of the incumbent, plots, reports."""
