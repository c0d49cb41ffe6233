#!/usr/bin/env python3
"""Do for minutes what wears a test broker out, and show what it cost and whether anything stayed.

    scripts/soak.py                     all of it, ten minutes at most
    scripts/soak.py --quick             a tenth of everything
    scripts/soak.py recoveries loans    some of its parts

The exit status is 0 if all goals are met, 1 if one is missed, 2 if it cannot be run. What it
starts carries a mark in its environment, by which it is found and ended whatever happened; what
it writes is in a temporary folder. It takes Linux, whose /proc tells what it measures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from benchmark.brokers import time_brokers
from benchmark.loans import time_many_loans
from helpers.processes import processes_with, wait_until
from helpers.raw_clients import crowd, in_another_process
from mqtt_test_broker import (
    FOLDER_PREFIX,
    BrokerError,
    TestMQTTBroker,
    find_mosquitto,
    mosquitto_version,
)
from shared.commands import CannotRunError, exit_status_of, take_other_ends_for_ctrl_c, write
from shared.formatting import duration, factor
from shared.machine import circumstances, in_words
from shared.paths import ROOT, TESTS
from shared.paths import SLOW_SUITE as OUR_TESTS
from shared.progress import Progress
from shared.tables import aligned
from shared.timing import timed
from shared_mqtt_pool import MQTTMonitor, SharedMQTTPool
from speedup.probe import installed_versions
from speedup.run import Run, Side
from speedup.running import Suite, run_tests

MODULES = ("mqtt_test_broker", "shared_mqtt_pool")
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]

MARK = "MQTT_SOAK"
RUN_MARK = "MQTT_SOAK_RUN"

PATIENCE = 30.0
"""Seconds that processes get to be gone once the one that has started them is."""

QUICK = 10
"""What everything is divided by where it is to be quick."""

KIBIBYTE = 1024


# --- Figures ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """A line of the table: what was measured, and the goal where there is one."""

    what: str
    measured: float
    written: str
    goal: str = ""
    is_met: bool = True
    is_timing: bool = False  # a busy machine may miss it


def told(what: str, measured: float, write: Callable[[Any], str] = "{:,}".format) -> Figure:
    """Tell a figure without a goal."""
    return Figure(what, measured, write(measured))


def exactly(what: str, measured: int, wanted: int) -> Figure:
    """Want a number to be another."""
    return Figure(what, measured, f"{measured:,}", f"{wanted:,}", measured == wanted)


def at_most(
    what: str,
    measured: float,
    limit: float,
    write: Callable[[float], str],
    *,
    is_timing: bool = False,
) -> Figure:
    """Want a number to be no larger than another."""
    goal = f"at most {write(limit)}"
    return Figure(what, measured, write(measured), goal, measured <= limit, is_timing)


def median(seconds: Sequence[float]) -> float:
    """Return the median; of nothing one that meets no goal."""
    return statistics.median(seconds or [math.nan])


def mebibytes(kibibytes: float) -> str:
    """Write an amount of memory."""
    return f"{kibibytes / KIBIBYTE:,.0f} MiB"


# --- What the parts share -----------------------------------------------------------------------


class Soak:
    """How much to do, where, and how to find again what was started."""

    def __init__(self, folder: Path, *, is_quick: bool, seed: int) -> None:
        self._folder = folder
        self._is_quick = is_quick
        self.seed = seed
        self.progress = Progress()
        self.token = uuid.uuid4().hex
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        # As under /tmp: mosquitto, started as root, becomes another user, who has to come through.
        folder.chmod(0o711)
        self.temporary.chmod(0o1777)

    def of(self, number: int) -> int:
        """Return *number*, or a part of it where it is to be quick."""
        return number // QUICK if self._is_quick else number

    def repository(self, name: str, suite: str, **settings: object) -> Path:
        """Make a repository with copies of the modules and one test module, and return it."""
        repo = self._folder / name
        tests = repo / "tests"
        tests.mkdir(parents=True)
        for module in MODULES:
            shutil.copy(TESTS / f"{module}.py", tests)
        (tests / "conftest.py").write_text(dedent(CONFTEST))
        constants = "".join(f"{name} = {value!r}\n" for name, value in settings.items())
        (tests / "test_it.py").write_text(constants + dedent(suite))
        return repo

    def run(self, name: str, repo: Path) -> Run:
        """Run a repository's tests, timed one by one."""
        suite = Suite(repo, [], PYTEST[3:], sys.executable)
        return run_tests(suite, Side(name, ""), self.progress)

    @contextlib.contextmanager
    def pytest(self, repo: Path, *words: str, mark: str = "") -> Iterator[subprocess.Popen[str]]:
        """Start pytest in a process group of its own, which is killed at the end."""
        process = subprocess.Popen(
            [*PYTEST, *words],
            cwd=repo,
            env={**os.environ, RUN_MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def folders_left(self) -> int:
        """Count the folders of brokers that are there."""
        return len(list(self.temporary.glob(f"{FOLDER_PREFIX}*")))

    def set_environment(self) -> None:
        """Mark what is started from here on, and have it write to the folder."""
        os.environ.update({MARK: self.token, "TMPDIR": str(self.temporary)})
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # what happens to be installed
        os.environ.pop("MQTT_TEST_BROKER_URL", None)  # a broker of others is not ours to kill
        tempfile.tempdir = str(self.temporary)


def end_what_stays(mark: str) -> list[str]:
    """Wait for the processes with a mark to be gone; kill those that stay, and return them."""
    if wait_until(lambda: not _processes_left(mark), PATIENCE):
        return []
    stayed = _processes_left(mark)
    for line in stayed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(line.split()[0]), signal.SIGKILL)
    return stayed


def _processes_left(mark: str) -> list[str]:
    """List the processes with a mark, but for the guardian of our own brokers: it ends with us."""
    return [
        line
        for line in processes_with(mark)
        if "mqtt-test-broker-guardian" not in line or not _is_our_child(line.split()[0])
    ]


def _is_our_child(process: str) -> bool:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # it has gone meanwhile
        return False
    return int(fields[1]) == os.getpid()


CONFTEST = """
    from mqtt_test_broker import isolated_mqtt_broker, session_mqtt_broker, test_mqtt_broker
    from shared_mqtt_pool import mqtt_client, mqtt_client_factory, mqtt_monitor, shared_mqtt_pool
"""


# --- Brokers that are killed --------------------------------------------------------------------

RECOVERIES = """
    import os
    import signal

    import pytest


    def on_request(broker):
        broker.kill()


    def unexpectedly(broker):
        os.kill(broker.pid, signal.SIGKILL)


    @pytest.mark.parametrize("how", [on_request, unexpectedly], scope="class")
    @pytest.mark.parametrize("n", range(KILLS // 2), scope="class")
    class TestRecovery:
        def test_kill(self, test_mqtt_broker, mqtt_client_factory, mqtt_monitor, n, how):
            clients = [mqtt_client_factory() for _ in range(1 + n % 5)]
            for number, client in enumerate(clients):
                client.subscribe("#")
                client.publish(f"kept/{number}", "1", qos=1, retain=True)
            mqtt_monitor.wait_for("kept/+", count=len(clients))
            how(test_mqtt_broker)
            clients[0].publish("lost", "1", qos=1)

        def test_next(self, shared_mqtt_pool, mqtt_client, mqtt_monitor, n, how):
            assert mqtt_monitor.messages == []
            assert shared_mqtt_pool.observer.know_retained() == {}
            mqtt_client.publish("round/trip", str(n), qos=1)
            [message] = mqtt_monitor.wait_for("round/trip")
            assert message.payload == str(n).encode()
"""


def recoveries(soak: Soak) -> Iterator[Figure]:
    """Kill the session's broker in mid-test, half of the times behind the modules' back."""
    kills = soak.of(200)
    run = soak.run("recoveries", soak.repository("recoveries", RECOVERIES, KILLS=kills))
    killed = [test for test in run.tests if "::test_kill[" in test.nodeid]
    recovered = [t for t in run.tests if "::test_next[" in t.nodeid and t.outcome == "passed"]
    yield exactly("brokers killed in mid-test", len(killed), kills)
    yield exactly("recoveries in the next test", len(recovered), kills)
    fine = [test.nodeid for test in killed if test.outcome == "passed"]
    yield exactly("tests that pass with broker.kill()", _count(fine, "on_request"), kills // 2)
    not_fine = [test.nodeid for test in killed if test.failed]
    told_of = _count(not_fine, "unexpectedly")
    yield exactly("unexpected deaths that their test reports", told_of, kills // 2)
    setups = [test.setup for test in recovered]
    yield at_most("next set-up until ready, median", median(setups), 0.05, duration, is_timing=True)
    yield told("next set-up until ready, worst", max(setups, default=math.nan), duration)
    teardowns = [test.teardown for test in killed]
    worst = max(teardowns, default=math.nan)
    yield at_most("tear-down after a kill, worst", worst, 0.5, duration, is_timing=True)


def _count(nodeids: Sequence[str], how: str) -> int:
    return sum(how in nodeid for nodeid in nodeids)


# --- Runs that are killed -----------------------------------------------------------------------

TO_BE_KILLED = """
    import pytest


    @pytest.mark.parametrize("n", range(20))
    def test_it(mqtt_client, mqtt_monitor, isolated_mqtt_broker, n):
        mqtt_client.publish("a", str(n), qos=1, retain=True)
        mqtt_monitor.wait_for("a")
        isolated_mqtt_broker.restart()
"""


def killed_runs(soak: Soak) -> Iterator[Figure]:
    """Kill pytest at random moments of its life, and look for what is left of it."""
    repo = soak.repository("killed-runs", TO_BE_KILLED)
    [life] = timed(lambda: _run_to_the_end(soak, repo), 1)
    chance = random.Random(soak.seed)
    orphans: list[str] = []
    wanted = soak.of(100)
    killed = folders = 0
    for attempt in range(2 * wanted):  # some end by themselves before their moment has come
        mark = f"{soak.token}-{attempt}"
        with soak.pytest(repo, mark=mark) as run:
            killed += _kill(run, chance.uniform(0, life), chance.choice((os.kill, os.killpg)))
        orphans += end_what_stays(f"{RUN_MARK}={mark}")
        folders = max(folders, soak.folders_left())
        soak.progress.say(f"killed-runs: {killed} of {wanted}")
        if killed == wanted:
            break
    yield told("seed of the moments", soak.seed, str)
    yield exactly("runs killed (SIGKILL), alone or as a group", killed, wanted)
    yield exactly("processes left", len(orphans), 0)
    yield told("folders left for the next start", folders)
    _run_to_the_end(soak, repo)
    yield exactly("folders left after the next start", soak.folders_left(), 0)


def _run_to_the_end(soak: Soak, repo: Path) -> None:
    with soak.pytest(repo) as run:
        output = run.communicate()[0]
    if run.returncode != 0:
        raise CannotRunError(f"a run that nobody killed ended badly. pytest says:\n{output}")


def _kill(run: subprocess.Popen[str], moment: float, kill: Callable[[int, int], None]) -> bool:
    """Kill *run* after so many seconds; say whether it had not ended by itself."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(moment)
        return False
    kill(run.pid, signal.SIGKILL)
    return run.wait() == -signal.SIGKILL


# --- Runs at the same time ----------------------------------------------------------------------


def concurrent_runs(soak: Soak) -> Iterator[Figure]:
    """Run this repository's slow suite many times at once."""
    [alone] = _run_at_once(soak, 1)
    runs = _run_at_once(soak, soak.of(20))
    yield exactly("runs at a time that are green", sum(run.is_green for run in runs), len(runs))
    passed = sum(run.passed for run in runs)
    yield exactly("tests passed in them", passed, alone.passed * len(runs))
    yield told("the slowest of them", max(run.seconds for run in runs), duration)
    yield told("one alone", alone.seconds, duration)


@dataclass(frozen=True)
class Outcome:
    """What became of a run."""

    seconds: float
    is_green: bool
    passed: int


def _run_at_once(soak: Soak, count: int) -> list[Outcome]:
    began = time.perf_counter()

    def outcome(run: subprocess.Popen[str]) -> Outcome:
        output = run.communicate()[0]
        passed = re.search(r"(\d+) passed", output)
        seconds = time.perf_counter() - began
        return Outcome(seconds, run.returncode == 0, int(passed[1]) if passed else 0)

    with contextlib.ExitStack() as stack:
        # The runs are ended before their threads are waited for, whatever happens.
        executor = stack.enter_context(ThreadPoolExecutor(count))
        runs = [stack.enter_context(soak.pytest(ROOT, OUR_TESTS)) for _ in range(count)]
        return list(executor.map(outcome, runs))


# --- A flood ------------------------------------------------------------------------------------

FLOOD = """
    import json
    import sys
    import time
    from pathlib import Path

    import shared_mqtt_pool

    sys.path.append(TESTS)
    from helpers.processes import memory_of
    from helpers.raw_clients import flood, in_another_process

    shared_mqtt_pool.HISTORY_LENGTH = THOUSANDS * 100


    def test_flood(mqtt_monitor, test_mqtt_broker):
        figures = {"before": memory_of("self")}
        began = time.perf_counter()

        def receive(thousands):
            with in_another_process(flood, test_mqtt_broker.port, thousands):
                end = str(thousands).encode()
                mqtt_monitor.wait_for("flood/end", 1, 600, lambda message: message.payload == end)

        receive(THOUSANDS // 5)
        figures["filled"] = memory_of("self", "VmHWM")
        receive(THOUSANDS - THOUSANDS // 5)
        figures["seconds"] = time.perf_counter() - began
        figures["peak"] = memory_of("self", "VmHWM")
        figures["after"] = memory_of("self")
        figures["broker"] = memory_of(test_mqtt_broker.pid, "VmHWM")
        figures["kept"] = len(mqtt_monitor.messages)
        figures["dropped"] = mqtt_monitor.dropped
        Path("figures.json").write_text(json.dumps(figures))
"""
ENDS = 2
"""Messages that end the two parts of the flood."""


def flood(soak: Soak) -> Iterator[Figure]:
    """Publish a million messages to a session that watches them."""
    messages = soak.of(1_000_000)
    repo = soak.repository("flood", FLOOD, THOUSANDS=messages // 1000, TESTS=str(TESTS))
    run = soak.run("flood", repo)
    [test] = run.tests
    if test.failed:
        raise FailedError(test.reason)
    figures = json.loads((repo / "figures.json").read_text())
    counted = figures["kept"] + figures["dropped"] - ENDS
    yield exactly("messages counted by the monitor, QoS 0", counted, messages)
    yield told("of these kept", figures["kept"] - ENDS)
    said = re.findall(r"(\d+) earlier messages were not kept", run.output)
    yield exactly("of these dropped, as the summary says", sum(map(int, said)), figures["dropped"])
    yield told("messages a second", round(messages / figures["seconds"]))
    yield told("memory of pytest before", figures["before"], mebibytes)
    yield told("its peak after a fifth of them", figures["filled"], mebibytes)
    yield at_most("its peak after all", figures["peak"], figures["filled"] * 1.1, mebibytes)
    yield told("memory of pytest after", figures["after"], mebibytes)
    yield told("peak of mosquitto", figures["broker"], mebibytes)


class FailedError(Exception):
    """A part that did not come to its figures, and why."""


# --- Many clients -------------------------------------------------------------------------------


def clients(soak: Soak) -> Iterator[Figure]:
    """Lend clients while a thousand others are connected."""
    others = lent = soak.of(1000)
    with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
        monitor = MQTTMonitor(pool)
        alone = timed(lambda: _lend_and_publish(pool), lent)
        with in_another_process(crowd, broker.port, others) as process:
            monitor.wait_for("hello/+", others, PATIENCE)
            among_them = timed(lambda: _lend_and_publish(pool), lent)
            process.communicate()
            stayed = monitor.wait_for("goodbye/+", others, PATIENCE)
    yield exactly("other clients, connected from first to last", len(stayed), others)
    yield exactly("loans meanwhile, each with a QoS 1 message", len(among_them), lent)
    yield told("such a loan, median", median(among_them), duration)
    yield told("without the others", median(alone), duration)


def _lend_and_publish(pool: SharedMQTTPool) -> None:
    client = pool.acquire()
    info = client.publish("loan", b"", 1)
    info.wait_for_publish(PATIENCE)
    if not info.is_published():
        raise FailedError(f"a client on loan got no PUBACK within {PATIENCE:g} s")
    pool.release(client)


# --- Starts and loans ---------------------------------------------------------------------------


FIRST_START = """
import time
from mqtt_test_broker import TestMQTTBroker
began = time.perf_counter()
broker = TestMQTTBroker().start()
print(time.perf_counter() - began)
broker.stop()
"""


def starts(soak: Soak) -> Iterator[Figure]:
    """Start brokers in turns with bare mosquittos; the first of a process takes a guardian too."""
    times = time_brokers(soak.of(200))
    yield told("starts of each", len(times.starts))
    ours, bare = median(times.starts), median(times.bare_starts)
    yield told("broker, from nothing to its first CONNACK, median", ours, duration)
    yield told("bare mosquitto, the same", bare, duration)
    yield at_most("ratio of the medians", ours / bare, 1.5, factor, is_timing=True)
    firsts = [_first_start() for _ in range(soak.of(20))]
    yield told("first broker of a process, median", median(firsts), duration)


def _first_start() -> float:
    run = subprocess.run(
        [sys.executable, "-c", FIRST_START], cwd=TESTS, stdout=subprocess.PIPE, check=True
    )
    return float(run.stdout)


def loans(soak: Soak) -> Iterator[Figure]:
    """Lend and take back ten thousand clients in one process."""
    count = soak.of(10_000)
    many = time_many_loans(count, lambda done: soak.progress.say(f"loans: {done} of {count}"))
    yield told("loans in one process", count)
    before, after = many.before, many.after
    yield exactly("threads after them", after.threads, before.threads)
    yield exactly("descriptors after them", after.descriptors or 0, before.descriptors or 0)
    limit = (before.memory or 0) * 1.1
    yield at_most("memory after them", after.memory or 0, limit, mebibytes)
    yield told("a loan, median of the first tenth", many.medians[0], duration)
    yield told("last tenth", many.medians[-1], duration)
    label = "that to the first, relative to bare clients"
    yield at_most(label, many.slowdown, 1.5, factor, is_timing=True)


# --- The whole ----------------------------------------------------------------------------------

Part = Callable[[Soak], Iterator[Figure]]

PARTS: dict[str, Part] = {
    "recoveries": recoveries,
    "killed-runs": killed_runs,
    "concurrent-runs": concurrent_runs,
    "flood": flood,
    "clients": clients,
    "starts": starts,
    "loans": loans,
}


@dataclass
class Result:
    """What a part has found, or why it came to nothing."""

    part: str
    figures: list[Figure] = field(default_factory=list)
    seconds: float = 0.0

    def missed(self) -> Iterator[str]:
        """Name the goals that were missed."""
        for figure in self.figures:
            if not figure.is_met:
                yield f"{self.part}: {figure.what}: {figure.written}, not {figure.goal}"


def measure(name: str, part: Part, soak: Soak) -> Result:
    """Do one part; what goes wrong in it is a figure as well."""
    result = Result(name)
    began = time.perf_counter()
    soak.progress.say(f"{name}: begins")
    try:
        result.figures += part(soak)
    except (
        BrokerError,
        FailedError,
        OSError,
        pytest.fail.Exception,
        subprocess.CalledProcessError,
    ) as error:
        result.figures.append(Figure("failed", 1, str(error), "no error", is_met=False))
    finally:
        soak.progress.clear()
    result.seconds = time.perf_counter() - began
    return result


def what_is_left(soak: Soak) -> Result:
    """Look for what all the parts together have left behind, and end it."""
    result = Result("in the end")
    stayed = end_what_stays(f"{MARK}={soak.token}")
    result.figures.append(exactly("processes left", len(stayed), 0))
    result.figures.append(exactly("folders left", soak.folders_left(), 0))
    return result


def table(results: Sequence[Result]) -> str:
    """Return the figures as aligned text."""
    rows = [("", "measured", "goal")]
    for result in results:
        rows.append((f"{result.part} ({duration(result.seconds)})", "", ""))
        for figure in result.figures:
            verdict = "" if figure.is_met else "MISSED: "
            rows.append((f"  {figure.what}", figure.written, verdict + figure.goal))
    return aligned(rows, header=1)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "parts", metavar="PART", nargs="*", help=f"{', '.join(PARTS)} (default: all of them)"
    )
    parser.add_argument("--quick", action="store_true", help="do a tenth of everything")
    parser.add_argument("--seed", type=int, help="of what is random (default: another each time)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    options = parser.parse_args(words)
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if options.seed is None:
        options.seed = random.randrange(1_000_000)
    return options


def conditions() -> dict[str, Any]:
    """Return what the figures are taken on.

    Raises:
        CannotRunError: it is not possible here.
    """
    if not Path("/proc/self/environ").exists():
        raise CannotRunError("there is no /proc to see processes and memory in: run it on Linux")
    try:
        mosquitto = mosquitto_version(find_mosquitto()) or "unknown"
    except BrokerError as error:
        raise CannotRunError(str(error)) from None
    versions = {**installed_versions(), "mosquitto": mosquitto}
    return {**circumstances(versions), "load_at_start": os.getloadavg()[0]}


def do_parts(options: argparse.Namespace) -> list[Result]:
    """Do what was asked for, and clean up whatever happens."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="mqtt-soak-") as folder:
        soak = Soak(Path(folder), is_quick=options.quick, seed=options.seed)
        soak.set_environment()
        try:
            results.extend(measure(name, PARTS[name], soak) for name in options.parts or PARTS)
        finally:
            results.append(what_is_left(soak))
    return results


def report(options: argparse.Namespace) -> int:
    """Do it, show and write what came of it, and return the exit status."""
    description = conditions()
    results = do_parts(options)
    missed = [line for result in results for line in result.missed()]
    print(table(results), "", sep="\n")
    print(f"{in_words(description)}; load {description['load_at_start']:.1f} at the start")
    for line in missed:
        print(f"Missed: {line}")
    description.update(
        seed=options.seed,
        quick=options.quick,
        missed=missed,
        parts={result.part: asdict(result) for result in results},
    )
    write(options.json, lambda: json.dumps(description, indent=2) + "\n")
    return 1 if missed else 0


def main(words: Sequence[str] | None = None) -> int:
    """Do it; return the exit status."""
    options = parse(sys.argv[1:] if words is None else words)
    return exit_status_of("soak", lambda: report(options))


if __name__ == "__main__":
    take_other_ends_for_ctrl_c()
    sys.exit(main())
