"""The Nipype front: read, one call, write."""

import os

# Nipype asks for news of itself at import; patient data and compute nodes want silence
os.environ.setdefault("NO_ET", "1")
os.environ.setdefault("NIPYPE_NO_ET", "1")
