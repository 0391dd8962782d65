"""The boundary between files and arrays."""
