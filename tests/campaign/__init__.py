"""Faults at random moments, real processes, and a checker that proves that nothing was lost.

``plan`` makes of a seed what will be done; ``run`` does it: ``place`` has the processes,
``relay`` the network between them, ``nemesis`` the faults, ``device`` the clients, which write
``history``.  ``checker`` compares the histories with what is in the database at the end.
"""
