"""Programs for people and scripts at a terminal: ``imd chat``, ``imd send``, ``imd tail``.

They stand on ``imd.client``.  What others wrote is shown through ``imd.terminal.escapes`` only:
it must never control the terminal.  What is pure (the line grammar, rendering) imports nothing
that has to do with Twisted or the screen.
"""
