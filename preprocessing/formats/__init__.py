"""Kinds of landmark files, read into datasets and written from them."""
