"""The command ``imd bench``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from imd.bench import idle, people
from imd.bench.load import TEXT_BYTES, Run
from imd.bench.peer import BenchError
from imd.bench.subject import Started, Subject
from imd.tasks import sleep

#: Seconds that messages may take to arrive after the last one was sent.
DRAIN_SECONDS = 30.0


def main(argv: list[str]) -> int:
    """Run; 0 if there are figures, 1 if there are none, 2 for a wrong option."""
    options = _parse(argv)
    _limit_files()
    from twisted.internet import reactor

    outcome: list[int] = []
    bench = Bench(options, reactor)

    def begin() -> None:
        Deferred.fromCoroutine(bench.run()).addBoth(end)

    def end(result: Any) -> None:
        if isinstance(result, int):
            outcome.append(result)
        else:
            sys.stderr.write(f"imd bench: {result.getErrorMessage()}\n")
            if result.check(BenchError) is None:
                result.printTraceback(sys.stderr)
            outcome.append(1)
        if reactor.running:
            reactor.stop()

    reactor.callWhenRunning(begin)
    reactor.run()
    return outcome[0] if outcome else 1


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("imd bench", description=__doc__)
    parser.add_argument(
        "--url", action="append", help="a running server (repeatable); else one is started"
    )
    parser.add_argument("--pid", type=int, help="its process, for CPU and memory")
    parser.add_argument(
        "--engines", metavar="FILE", help="TOML with store and status: start a cluster over them"
    )
    parser.add_argument("--connectors", type=_positive, default=2, help="connectors of it [2]")
    parser.add_argument(
        "--watch", action="append", default=[], metavar="NAME=PID", help="show its CPU, too"
    )
    parser.add_argument("--mode", choices=("pairs", "idle"), default="pairs")
    parser.add_argument("--pairs", type=_positive, default=50, help="pairs of users [50]")
    parser.add_argument(
        "--window", type=_positive, default=8, help="messages of a pair without a receipt [8]"
    )
    parser.add_argument("--rate", type=float, default=0, help="open loop: messages a second")
    parser.add_argument("--seconds", type=float, default=10, help="measured time [10]")
    parser.add_argument("--warm-up", type=float, default=2, help="time before that [2]")
    parser.add_argument("--runs", type=_positive, default=1, help="repeat, show the median [1]")
    parser.add_argument("--connections", type=_positive, default=2000, help="mode idle [2000]")
    parser.add_argument("--pin", metavar="CPU", help="the processor of the started server")
    parser.add_argument("--directory", help="where the started server keeps its data")
    parser.add_argument("--json", metavar="FILE", help="write the figures there as well")
    return parser.parse_args(argv)


def _subject(options: argparse.Namespace) -> Subject:
    if options.url:
        subject = Subject(options.url, {"server": options.pid} if options.pid else {})
    else:
        engines = Path(options.engines).read_text("utf-8") if options.engines else ""
        subject = Started(options.directory, options.pin, engines, options.connectors)
    for name, _, pid in (each.partition("=") for each in options.watch):
        subject.watched[name] = int(pid)
    return subject


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _limit_files() -> None:
    """Allow ourselves, and the server we start, as many connections as the system does."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Bench:
    """One invocation."""

    def __init__(self, options: argparse.Namespace, reactor: Any) -> None:
        self._options = options
        self._reactor = reactor
        self._failure: str | None = None

    async def run(self) -> int:
        """Measure and report; the exit code."""
        options = self._options
        self._say(environment())
        subject = _subject(options)
        self._say(f"server: {subject.description}")
        try:
            if options.mode == "idle":
                return self._report_idle(
                    await idle.measure(self._reactor, subject, options.connections, self._failed)
                )
            return await self._measure_pairs(subject)
        finally:
            subject.stop()

    def _failed(self, reason: str) -> None:
        self._failure = self._failure or reason

    @staticmethod
    def _say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    async def _measure_pairs(self, subject: Subject) -> int:
        options = self._options
        loop = (
            f"open loop at {options.rate:g} msg/s, times from when a message was due"
            if options.rate
            else f"closed loop, {options.window} messages of a pair without a delivered receipt"
        )
        self._say(f"load: {options.pairs} pairs, {TEXT_BYTES}-byte texts, {loop}")
        results = []
        for number in range(options.runs):
            made = await people.pairs(self._reactor, subject.urls, options.pairs, self._failed)
            result = await self._measure(subject, made)
            for pair in made:
                pair.sender.hang_up()
                pair.receiver.hang_up()
            if result is None:
                return 1
            self._report(f"run {number + 1}", result)
            results.append(result)
        if len(results) > 1:
            self._report_median(results)
        self._write(results)
        return 0

    async def _measure(self, subject: Subject, made: list[people.Pair]) -> dict[str, Any] | None:
        options, now = self._options, self._reactor.seconds
        run = Run(self._reactor, made, options.window, options.rate)
        run.start()
        await sleep(self._reactor, options.warm_up)
        run.forget()
        traffic, start = _traffic(made), now()
        before, own = subject.cpus(), time.process_time()
        await sleep(self._reactor, options.seconds)
        seconds, done = now() - start, run.done
        cpu = {name: used - before[name] for name, used in subject.cpus().items()}
        own = time.process_time() - own
        traffic = [after - before for before, after in zip(traffic, _traffic(made), strict=True)]
        times, lag = run.times, run.lag.summary()
        run.stop_sending()
        await self._drain(run)
        faults = run.verdict()
        if faults or self._failure or not done:
            found = self._failure or ", ".join(f"{k} {v}" for k, v in _builtins(faults).items())
            self._say(f"no figure: {found}")
            return None
        return {
            "messages": done,
            "messages_per_second": done / seconds,
            "server_cpu_us": sum(cpu[name] for name in subject.processes) / done * 1e6,
            "cpu_us": {name: used / done * 1e6 for name, used in cpu.items()},
            "generator_cpu_us": own / done * 1e6,
            "generator_busy_percent": own / seconds * 100,
            "generator_lag_ms": lag,
            "frames_per_message_in": traffic[1] / max(traffic[0], 1),
            "frames_per_message_out": traffic[3] / max(traffic[2], 1),
            "sent_ms": times.sent.summary(),
            "received_ms": times.received.summary(),
            "delivered_ms": times.delivered.summary(),
            "faults": _builtins(faults),
        }

    async def _drain(self, run: Run) -> None:
        end = self._reactor.seconds() + DRAIN_SECONDS
        while not run.complete and not self._failure and self._reactor.seconds() < end:
            await sleep(self._reactor, 0.05)

    # -- figures

    def _report(self, name: str, result: dict[str, Any]) -> None:
        self._say(
            f"{name}: {result['messages_per_second']:.0f} msg/s; CPU per message: "
            f"server {result['server_cpu_us']:.0f} us, generator "
            f"{result['generator_cpu_us']:.0f} us ({result['generator_busy_percent']:.0f} % busy)"
        )
        if len(result["cpu_us"]) > 1:
            parts = ", ".join(f"{name} {used:.0f}" for name, used in result["cpu_us"].items())
            self._say(f"  CPU us per message by process: {parts}")
        for what in ("sent", "received", "delivered"):
            self._say(f"  time to {what:9}  {_line(result[what + '_ms'])}")
        if self._options.rate:
            self._say(f"  generator lag      {_line(result['generator_lag_ms'])}")
        self._say(
            f"  frames in a WebSocket message: {result['frames_per_message_out']:.1f} to the "
            f"server, {result['frames_per_message_in']:.1f} from it"
        )
        self._say("  lost 0, duplicated 0, out of order 0, refused 0")

    def _report_median(self, results: list[dict[str, Any]]) -> None:
        for key in ("messages_per_second", "server_cpu_us"):
            values = sorted(result[key] for result in results)
            middle = statistics.median(values)
            self._say(f"median {key}: {middle:.0f} ({values[0]:.0f} to {values[-1]:.0f})")

    def _report_idle(self, result: idle.Idle) -> int:
        if self._failure:
            self._say(f"no figure: {self._failure}")
            return 1
        self._say(
            f"idle: {result.connections} connections, "
            f"{result.kib_per_connection:.1f} KiB of memory each; logins by token: "
            f"{result.logins_per_second:.0f} /s, {result.cpu_us_per_login:.0f} us of CPU each"
        )
        self._write([_builtins(result)])
        return 0

    def _write(self, results: list[dict[str, Any]]) -> None:
        if self._options.json:
            with open(self._options.json, "w", encoding="utf-8") as file:
                json.dump({"environment": environment(), "runs": results}, file, indent=2)


def environment() -> str:
    """What the figures were measured on."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} processors, "
        f"{platform.system()} {platform.release()}, load {load}"
    )


def _traffic(made: list[people.Pair]) -> list[int]:
    peers = [peer for pair in made for peer in (pair.sender, pair.receiver)]
    return [
        sum(peer.messages_in for peer in peers),
        sum(peer.frames_in for peer in peers),
        sum(peer.messages_out for peer in peers),
        sum(peer.frames_out for peer in peers),
    ]


def _line(summary: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.1f}" for name, value in summary.items()) + "  ms"


def _builtins(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.structs.asdict(value)
    return found
