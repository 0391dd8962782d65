"""Heads, kinetics and scans with known truth."""
