"""Trained models over HTTP, on this machine or for others: limits first, then decoding, then batches."""
