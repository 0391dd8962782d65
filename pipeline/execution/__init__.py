"""Running graphs: plugins, progress, failures."""
