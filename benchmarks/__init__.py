"""Measurements. Run as modules (`python -m benchmarks.csv`), so that `csv` stays the standard library's."""
