"""Entries of the apiserver's own log become columns and rows: in bulk where nothing is in doubt, one by one else."""
