"""Settings: the schema and how they are read."""
