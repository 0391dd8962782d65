"""Running graphs: plugins, progress, failures."""

import os

# see pipeline.interfaces: no telemetry, whichever is imported first
os.environ.setdefault("NO_ET", "1")
os.environ.setdefault("NIPYPE_NO_ET", "1")
