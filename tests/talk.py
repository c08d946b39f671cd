"""Users who write to each other all the time, and when each message came how far."""

from __future__ import annotations

from msgspec import Struct
from twisted.internet.task import LoopingCall

from imd.client import Client
from imd.client.effects import ReceiptChanged
from imd.client.values import Message, Sent
from tests.process import reactor

#: Seconds between two messages of one user.
EVERY = 0.1


class Times(Struct):
    """One message: when it was said, sent, received and delivered; ``seq`` as acknowledged."""

    said: float
    sent: float = 0.0
    received: float = 0.0
    delivered: float = 0.0
    seq: int = 0


class Talk:
    """One user who writes to another."""

    def __init__(self, sender: Client, receiver: Client, conversation: int) -> None:
        self.messages: list[Times] = []
        #: Text and seq of what the receiver was shown, in that order.
        self.shown: list[tuple[str, int]] = []
        self._sender = sender
        self._receiver = receiver
        self._conversation = conversation
        self._covered = self._delivered = 0
        self._saying = LoopingCall(self._say)
        sender.on_receipt(self._receipt)
        receiver.on_message(self._show)

    def start(self) -> None:
        """Write from now on."""
        self._saying.start(EVERY)

    def stop(self) -> None:
        """Write no more."""
        self._saying.stop()

    @property
    def delivered(self) -> int:
        """How many of its messages the sender knows to be delivered."""
        return self._delivered

    @property
    def is_settled(self) -> bool:
        """Whether the sender knows of every message that it was delivered."""
        return self._delivered == len(self.messages)

    def check(self) -> None:
        """Nothing was lost, doubled or out of order, and both sides agree on the numbers."""
        assert [text for text, _ in self.shown] == [str(n) for n in range(len(self.messages))]
        assert [seq for _, seq in self.shown] == [times.seq for times in self.messages]

    def _say(self) -> None:
        times = Times(reactor.seconds())
        self.messages.append(times)
        sending = self._sender.send(self._conversation, str(len(self.messages) - 1))
        sending.addCallback(self._sent, times)

    def _sent(self, sent: Sent, times: Times) -> None:
        times.sent, times.seq = reactor.seconds(), sent.seq
        self._cover()

    def _show(self, message: Message) -> None:
        self.shown.append((message.text, message.seq))
        times = self.messages[int(message.text)]
        times.received = times.received or reactor.seconds()

    def _receipt(self, change: ReceiptChanged) -> None:
        if change.user == self._receiver.me:
            self._covered = max(self._covered, change.delivered)
            self._cover()

    def _cover(self) -> None:
        while not self.is_settled and 0 < self.messages[self._delivered].seq <= self._covered:
            self.messages[self._delivered].delivered = reactor.seconds()
            self._delivered += 1
