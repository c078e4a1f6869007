"""Detection: what is on pictures, where data sets say it, how well it is found."""
