"""petbind: from BIDS dynamic PET and T1w to binding potentials and group statistics."""

__version__ = "0.1.0"
