"""Hints from connector to connector, by Perspective Broker.

The conversation.  A transfer listens; every connector dials every transfer and keeps the
connection.  Over TCP each side first proves its role by its certificate, over a unix socket
whoever may open the file is trusted (``endpoints``).  Then both call methods of the one object
that the other has, named ``root``.  Arguments are bytes and ints, answers are ints, and nothing
else is ever said: no reference, no copied object, no text of an error (``broker``).

A connector introduces itself::

    C → T  attach(name, boot, version)      answered OK or REFUSED
    T → C  peer("up", other)                for each connector that is attached, before the answer
    T → D  peer("up", name)                 to all the others

``name`` is that of the node, ``boot`` tells one process of that name from the next.  Who attaches
under a name that is attached already takes its place: the old connection is told
``peer("replaced", name)`` and closed, the others see it go and come.  When a connection breaks,
the others are told ``peer("down", name)``.

Hints travel in blobs (``blob``), which a transfer never opens::

    C → T  forward(destination, blob)
    T → D  push(source, blob)               answered when D has dealt with it,
           then forward is answered OK      or UNKNOWN: no such connector, or it went away

At most two blobs are on their way to one destination; what comes meanwhile waits and leaves
together, so that blobs grow with the load (``backlog``).  What waits is bounded at the connector
and again at the transfer.  When it runs over, it is dropped and the destination is told ``lost``:
by the header of the next blob, or by an empty blob of the transfer (source ``""``).  It then looks
into the ``Feed`` for what it missed.  A hint for all is queued for every connector that is up: in
order with what is for that one alone, and none of them waits for a slow one.

    C → T  ping(n)                          every 5 s, answered n

An answer that takes longer than 10 s means that the other side is gone: the connection is
aborted.  Only ``forward`` may take longer, as it waits for a third; whether the transfer lives,
``ping`` tells.  A transfer also aborts a connection that it has heard nothing on for 15 s.

A transfer keeps nothing that would be missed.  With several of them a connector spreads its
destinations over those it is attached to.  What was on its way when a connection broke counts as
lost, and its destination is told so by another way if there is one.

There is no login of Perspective Broker here.  It proves a password by an MD5 challenge, which
is worth less than the certificate (or the file) that got the peer this far; after that a name is
all there is to say, and ``attach`` says it.
"""
