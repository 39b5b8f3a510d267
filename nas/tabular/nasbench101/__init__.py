"""NAS-Bench-101: downloading its files, reading them without TensorFlow, importing them into a store."""
