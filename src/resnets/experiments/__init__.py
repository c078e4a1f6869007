"""Tables and figures of the literature as commands: what is run, what was published, and the two side by side."""
