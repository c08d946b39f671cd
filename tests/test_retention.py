"""The job that deletes what is old, without a network."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from imd.keeping import Keeping
from imd.retention import DAY, HOUR, LOOK_SECONDS, PAUSE, ROWS, Retention
from tests.application import WALL, Application, Client


class Chance:
    """The time of an application, and no chance."""

    def __init__(self, app: Application) -> None:
        self._app = app

    def now_ms(self) -> int:
        return self._app.sources.now

    def fraction(self) -> float:
        return 0.5


class RetentionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.app = Application(self)
        self.alice, self.bob, self.conversation = self.app.pair()

    def job(self, **keeping: int) -> Retention:
        app = self.app
        job = Retention(app.storage, Keeping(**keeping), Chance(app), app.clock)
        job.start()
        self.addCleanup(job.stop)
        return job

    def write(self, count: int) -> None:
        for _ in range(count):
            self.alice.text(self.conversation)

    def later(self, days: int) -> None:
        self.app.sources.now = WALL + days * DAY
        self.app.clock.pump([LOOK_SECONDS, PAUSE, PAUSE, PAUSE])

    def fetch(self, client: Client) -> tuple[int, int]:
        client.take()
        client.say({"type": "fetch", "req": 5, "conv": self.conversation, "limit": 200})
        (page,) = client.take("msgs")
        return page["floor"], len(page["items"])

    def test_messages_go_once_they_are_old_and_everybody_has_them(self) -> None:
        self.write(3)
        for client in self.alice, self.bob:
            client.say({"type": "mark", "conv": self.conversation, "delivered": 2})
        job = self.job(messages_days=10)
        self.later(10)
        self.assertEqual(job.messages, 0)
        self.app.sources.now += 1
        self.later(11)
        self.assertEqual((job.messages, job.runs), (2, 2))
        self.assertEqual(self.fetch(self.bob), (3, 1))
        self.later(91)
        self.assertEqual(job.messages, 3)
        self.assertEqual(self.fetch(self.bob), (4, 0))
        self.write(1)
        (got,) = self.bob.take("msg")
        self.assertEqual(got["seq"], 4)

    def test_what_was_not_fetched_may_be_kept_for_ever(self) -> None:
        self.write(1)
        job = self.job(messages_days=10, undelivered_days=0)
        self.later(9999)
        self.assertEqual((job.messages, job.runs), (0, 1))

    def test_one_run_an_hour_whoever_does_it(self) -> None:
        one, other = self.job(files_days=10), self.job(messages_days=10)
        self.later(1)
        self.later(1)
        self.assertEqual(one.runs + other.runs, 1)
        self.app.sources.now += HOUR
        self.app.clock.pump([LOOK_SECONDS, PAUSE])
        self.assertEqual(one.runs + other.runs, 2)

    def test_by_default_everything_is_kept_and_nobody_looks(self) -> None:
        self.app.storage.calls.clear()
        self.job()
        self.later(9999)
        self.assertEqual(self.app.storage.count("claim"), 0)

    def test_a_long_run_pauses_and_can_be_stopped(self) -> None:
        done = []

        async def expire_messages(**bounds: int) -> object:
            done.append(bounds)
            return self.Some(7, ROWS)

        async def expire_sent_files(**bounds: int) -> int:
            return bounds["limit"]

        self.app.storage._port.expire_messages = expire_messages
        self.app.storage._port.expire_sent_files = expire_sent_files
        job = self.job(messages_days=10, files_days=10)
        self.app.clock.advance(LOOK_SECONDS)
        self.assertEqual(len(done), 1)
        self.app.clock.advance(PAUSE)
        self.assertEqual([each["after"] for each in done], [0, 6])
        job.stop()
        self.app.clock.advance(PAUSE)
        self.assertEqual((len(done), job.files), (2, 0))

    def test_files_go_batch_by_batch(self) -> None:
        left = [50, 50, 3]

        async def expire_sent_files(**bounds: int) -> int:
            return left.pop(0)

        self.app.storage._port.expire_sent_files = expire_sent_files
        job = self.job(files_days=10)
        self.app.clock.pump([LOOK_SECONDS, PAUSE, PAUSE])
        self.assertEqual((job.files, job.runs, left), (103, 1, []))

    def test_a_store_that_is_away_is_asked_again(self) -> None:
        job = self.job(files_days=10)
        self.app.storage.fail("claim")
        self.later(1)
        self.later(1)
        self.assertEqual(job.runs, 1)

    class Some:
        def __init__(self, conversation: int, messages: int) -> None:
            self.conversation, self.messages = conversation, messages
