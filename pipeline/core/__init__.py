"""Words every part of petbind shares: errors, frame timing, decay, labels, geometry."""
