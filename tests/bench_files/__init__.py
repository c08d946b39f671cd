"""What the transfer of a large file costs, what it does to texts, and that it survives breaks.

``python -m tests.bench_files``; docs/performance.rst says what it shows.
"""
