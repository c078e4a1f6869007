"""Testing: protocols, exact metrics."""
