"""The records of a study and the files of its run directory: the only code that opens result files."""
