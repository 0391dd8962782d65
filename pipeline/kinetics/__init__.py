"""Reference-tissue models: curves in, parameters with errors out."""
