"""Wiring only: steps as contracts, backends as files, one graph per subject and session."""
