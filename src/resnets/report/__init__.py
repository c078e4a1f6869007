"""Reports read results, never models."""
