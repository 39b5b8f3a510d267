"""Starting workers: processes on this machine, one or more for each GPU, and jobs of Slurm."""
