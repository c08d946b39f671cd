"""The ports of imd: what the application needs from the outside world.

Each port has an embedded and a networked implementation, and one contract suite in
``tests/contracts`` that all of them pass.  All times are integer milliseconds since
the epoch, all ids positive integers below 2**52, both made by the caller, so that
an implementation holds neither a clock nor a source of randomness.

Every method raises ``Unavailable`` when the engine does not answer in time; nothing is
then known about a write, and repeating it with the same arguments is safe.
"""
