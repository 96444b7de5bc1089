"""Words and photos as they arrive -> bounded, decoded, normalised. Knows nothing of listings or models."""
