"""``imd bench`` of a cluster over engines started for the purpose, with durable commits.

python -m tests.bench_cluster [OPTIONS OF imd bench]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

from imd.migrate import main as migrate
from tests.process import environment
from tests.servers import Postgres, Redis


def main(argv: list[str]) -> int:
    """Start the engines, run the bench, show the figures; its exit code."""
    postgres, redis = Postgres(), Redis()
    try:
        postgres.start()
        redis.start()
        return _bench(postgres, redis, argv)
    finally:
        redis.close()
        postgres.close()


def _bench(postgres: Postgres, redis: Redis, argv: list[str]) -> int:
    store = postgres.url()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as engines:
        engines.write(f'store = "{store}"\nstatus = "{redis.url}"\n')
        engines.flush()
        migrate([f"--config={engines.name}"])
        watch = [f"--watch=postgresql={postgres.pid}", f"--watch=redis={redis.pid}"]
        bench = [sys.executable, "-m", "imd", "bench", f"--engines={engines.name}"]
        done = subprocess.run([*bench, *watch, *argv], env=environment(), check=False)
    for fault in ("deadlock detected", "duplicate key"):
        print(f"{fault!r} in the log of PostgreSQL: {postgres.log.count(fault)}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
