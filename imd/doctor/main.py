"""``imd doctor``: one line for everything that is looked at, and the next step where it fails."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogBeginner
from zope.interface import implementer

from imd.config import Settings
from imd.daemon import process
from imd.doctor import judge, machine
from imd.doctor.certificates import certificates
from imd.doctor.engines import engines, node
from imd.doctor.judge import Finding
from imd.errors import ConfigError
from imd.ops.lifecycle import Listener
from imd.ops.logs import clean
from imd.ops.supervisor import Supervisor
from imd.tap import Options

#: Characters of a line.
MOST_SHOWN = 1000


@implementer(ILogObserver)
class _Nobody:
    """Who reads what parts of the daemon log: what they say is in the findings."""

    def __call__(self, event: LogEvent) -> None:
        pass


def main(arguments: Sequence[str]) -> int:
    """Run the command: 0, 1 if something fails, 78 if the configuration is wrong."""
    from twisted.internet import reactor as found_reactor

    reactor: Any = found_reactor

    options, rest = _parse(arguments)
    globalLogBeginner.beginLoggingTo([_Nobody()], True, redirectStandardIO=False)
    found: list[Finding] = []

    def done(outcome: Any) -> Any:
        reactor.stop()
        return outcome

    def begin() -> None:
        work = Deferred.fromCoroutine(examine(rest, options.config, options.url, reactor))
        work.addCallback(found.extend).addErrback(crashed.append).addBoth(done)

    crashed: list[Any] = []
    reactor.callWhenRunning(begin)
    reactor.run()
    if crashed:
        crashed[0].raiseException()
    _show(found, options.json)
    return judge.exit_code(found)


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="imd doctor",
        description="Look at everything that a server with this configuration depends on; "
        "changes nothing.  Takes the options of twistd imd as well.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration file of the server")
    parser.add_argument("--url", metavar="URL", help="of a node that runs, to ask its /readyz")
    parser.add_argument("--json", action="store_true", help="an object a line, for programs")
    return parser.parse_known_args(arguments)


def _show(findings: Sequence[Finding], as_json: bool) -> None:
    for finding in findings:
        line = msgspec.json.encode(finding).decode() if as_json else clean(finding, MOST_SHOWN)
        sys.stdout.write(f"{line}\n")


async def examine(
    options: Sequence[str], config: str | None, url: str | None, reactor: Any
) -> list[Finding]:
    """Everything about a process with these options, in the order in which it matters."""
    try:
        settings = _configured(options, config, reactor)
    except ConfigError as error:
        text = str(error).removeprefix(f"{error.key}: ")
        return [judge.fail(error.key, text, "correct the configuration first", wrong=True)]
    said = [judge.ok("configuration", f"role {settings.role}, all keys are right")]
    said += [*machine.libraries(), machine.clock(), *machine.folders(settings)]
    if settings.role != "transfer":
        said += machine.limits(settings)
    said += certificates(settings) + await engines(settings, reactor)
    return said if url is None else [*said, await node(url)]


def _configured(options: Sequence[str], config: str | None, reactor: Any) -> Settings:
    """The settings, if a daemon would start with them.  Raises ``ConfigError``."""
    settings = Options().load([*options, *([f"--config={config}"] if config else [])])
    service = process(settings, reactor, Supervisor("", 0.0, reactor))
    for child in service.children:
        if isinstance(child, Listener):
            child.check()
    return settings
