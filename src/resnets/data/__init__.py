"""Data: safe decoding, preprocessing, data sets, batches."""
