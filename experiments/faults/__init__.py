"""Faults, how each disturbs a command, and what the command must have done then."""
