"""What browsers load: the chat page and ``imd.js``, the client for any web page.

There is no Python here; the package makes the files known to ``importlib.resources``.
"""
