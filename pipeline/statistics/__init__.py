"""Group statistics on arrays."""
