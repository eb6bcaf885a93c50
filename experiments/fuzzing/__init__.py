"""Damaged files of every kind that the project reads, and what its readers make of them."""
