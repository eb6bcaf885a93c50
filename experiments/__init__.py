"""Commands that reproduce a table, and benchmarks."""
