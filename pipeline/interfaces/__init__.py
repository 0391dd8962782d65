"""The Nipype front: read, one call, write."""
