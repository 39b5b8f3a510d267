"""Tables measured by this project: the networks, their training, and the measuring of cells on demand."""
