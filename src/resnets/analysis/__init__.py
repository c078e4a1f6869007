"""What can be asked of a network."""
