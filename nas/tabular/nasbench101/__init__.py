"""NAS-Bench-101: download of its files, reading without TensorFlow, and import into a store."""
