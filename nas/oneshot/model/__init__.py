"""The one-shot model: its cells and weights, how they train and are evaluated, and the batches that they see."""
