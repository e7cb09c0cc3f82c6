"""Metrics, comparisons, plots, and the files of ``reports/evaluation``."""
