"""Tables measured by this project: the networks, their training, cells measured when they are asked for."""
