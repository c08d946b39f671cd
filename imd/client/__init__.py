"""The Python client of imd: for bots, for the terminal, and for load tests."""
