"""Wiring only: steps as contracts, backends as files, one graph per subject and session."""

import os

# see pipeline.interfaces: no telemetry, whichever is imported first
os.environ.setdefault("NO_ET", "1")
os.environ.setdefault("NIPYPE_NO_ET", "1")
