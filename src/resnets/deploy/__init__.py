"""Trained models at work: converted for other runtimes, compared, timed, and the fastest chosen on this machine."""
