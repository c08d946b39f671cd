"""``imd conformance``: does a client keep the rules of protocol §5?

The kit is a server that misbehaves as its scenarios say, and a driver protocol by which it
tells a client what to do and hears what the client shows.  ``docs/conformance.rst`` is the
manual; the scenarios are text files in ``imd/conformance/scenarios``.
"""
