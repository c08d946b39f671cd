"""What ``imd doctor`` makes of facts: every judgement, on both sides of its bound."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from imd.doctor import judge
from imd.doctor.judge import Finding, Folder, Level, Pem

SAFE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
GOOD = Folder("/var/lib/imd", True, True, True, 0o700, 1 << 30, "ext4")
CERTIFICATE = Pem("own.pem", -1, 90, ("chat.example.org",), True, True)


def level(finding: Finding) -> str:
    """How good it is; whatever is not well says what to do."""
    assert bool(finding.todo) == (finding.level is not Level.OK), finding
    return str(finding.level)


def levels(findings: list[Finding]) -> list[str]:
    """Names and levels of all that is not well."""
    return [f"{level(one)} {one.name}" for one in findings if one.level is not Level.OK]


class JudgementTests(SynchronousTestCase):
    """From facts to findings."""

    def test_a_finding_is_a_line(self) -> None:
        self.assertEqual(str(judge.ok("clock", "right")), "ok    clock  right")
        self.assertEqual(str(judge.warn("clock", "late", "set it")), "warn  clock  late; set it")

    def test_the_exit_code_says_whether_the_configuration_is_wrong(self) -> None:
        fine, bad = judge.warn("a", "", "b"), judge.fail("a", "", "b")
        wrong = judge.fail("a", "", "b", wrong=True)
        self.assertEqual(judge.exit_code([]), 0)
        self.assertEqual(judge.exit_code([fine]), 0)
        self.assertEqual(judge.exit_code([fine, bad]), 1)
        self.assertEqual(judge.exit_code([bad, wrong]), 78)

    def test_clocks(self) -> None:
        for seconds, uncertainty, wanted in (
            *((0.9, 0, "ok"), (1.0, 0, "warn"), (-1.0, 0, "warn"), (29.9, 0, "warn")),
            *((-30, 0, "fail"), (2, 1.5, "ok"), (31, 2, "warn")),
        ):
            self.assertEqual(level(judge.clock("c", seconds, uncertainty)), wanted, seconds)
        for told, wanted in ((None, "ok"), (True, "ok"), (False, "warn")):
            self.assertEqual(level(judge.synchronized(told)), wanted)

    def test_durability(self) -> None:
        self.assertEqual(level(judge.durability(SAFE, False)), "ok")
        remote = SAFE | {"synchronous_commit": "remote_apply"}
        self.assertEqual(level(judge.durability(remote, False)), "ok")
        for name in SAFE:
            weak = SAFE | {name: "off"}
            self.assertEqual(level(judge.durability(weak, False)), "fail")
            self.assertEqual(level(judge.durability(weak, True)), "warn")
            self.assertIn(f"{name}=off", judge.durability(weak, True).text)

    def test_room_for_connections(self) -> None:
        self.assertEqual(level(judge.connections(100, 93, 7)), "ok")
        self.assertEqual(level(judge.connections(100, 94, 7)), "warn")

    def test_versions(self) -> None:
        for version, wanted in (("6.2.0", "ok"), ("7.4", "ok"), ("6.0.16", "fail"), ("", "fail")):
            self.assertEqual(level(judge.redis_version(version)), wanted)
        self.assertEqual(level(judge.library("x", "1.10", "1.9")), "fail")
        self.assertEqual(level(judge.library("x", "1.10", "1.10.0")), "ok")
        self.assertEqual(level(judge.library("x", "1.10", None)), "fail")

    def test_what_redis_may_drop(self) -> None:
        self.assertEqual(level(judge.eviction("noeviction", 1)), "ok")
        self.assertEqual(level(judge.eviction("allkeys-lru", 0)), "ok")
        self.assertEqual(level(judge.eviction("volatile-ttl", 1)), "fail")

    def test_limits_of_the_machine(self) -> None:
        self.assertEqual(level(judge.open_files(1100, 1000)), "ok")
        self.assertEqual(level(judge.open_files(1099, 1000)), "warn")
        self.assertEqual(level(judge.backlog(4096, 4096)), "ok")
        self.assertEqual(level(judge.backlog(4097, 4096)), "warn")
        for number, wanted in ((999, "ok"), (1000, "warn"), (2000, "warn"), (2001, "ok")):
            self.assertEqual(level(judge.port(number, 1000, 2000)), wanted)

    def test_directories(self) -> None:
        def said(reserve: int = 0, local: bool = True, **facts: object) -> list[str]:
            values = {f: getattr(GOOD, f) for f in GOOD.__struct_fields__} | facts
            return levels(judge.folder("data", Folder(**values), reserve, local))

        self.assertEqual(said(), [])
        self.assertEqual(said(exists=False, mine=False, mode=0o755), [])
        self.assertEqual(said(writable=False, kind="nfs"), ["fail data"])
        self.assertEqual(said(kind="nfs4"), ["fail data.disk"])
        self.assertEqual(said(kind="nfs4", local=False), [])
        self.assertEqual(said(mine=False, mode=0o750), ["warn data.owner", "warn data.mode"])
        self.assertEqual(said(reserve=GOOD.free + 1), ["fail data.free"])

    def test_certificates(self) -> None:
        def said(*wanted: str, **facts: object) -> list[str]:
            values = {f: getattr(CERTIFICATE, f) for f in CERTIFICATE.__struct_fields__} | facts
            return levels(judge.certificate("cert", Pem(**values), wanted))

        self.assertEqual(said("chat.example.org"), [])
        self.assertEqual(said(key_fits=None, chained=None, names=()), [])
        self.assertEqual(said(ends=0), ["fail cert"])
        self.assertEqual(said(begins=0.1), ["fail cert"])
        self.assertEqual(said(ends=2.9), ["fail cert"])
        self.assertEqual(said(ends=29.9), ["warn cert"])
        self.assertEqual(said(key_fits=False, key_open=True), ["fail cert.key", "warn cert.key"])
        self.assertEqual(said(chained=False), ["fail cert.chain"])
        self.assertEqual(said("other.example.org"), ["fail cert.names"])
        self.assertEqual(said("a.x.org", names=("*.x.org",)), [])
        self.assertEqual(said("*.c.internal", names=("c.internal",)), [])
        self.assertEqual(said("*.c.internal", names=("n1.c.internal",)), [])
        self.assertEqual(said("*.c.internal", names=("internal",)), ["fail cert.names"])

    def test_a_node_that_answers(self) -> None:
        self.assertEqual(level(judge.readiness("u", 200, "ready\n")), "ok")
        self.assertEqual(level(judge.readiness("u", 503, "PostgreSQL: away")), "fail")
