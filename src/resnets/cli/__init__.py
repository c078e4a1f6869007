"""The command `resnets`: one file per group of verbs."""
