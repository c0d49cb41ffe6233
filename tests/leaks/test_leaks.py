"""A suite that leaks everything ends with its last test, green and silent, whatever ends it.

The suite in tests/leaks/suite is a repository as others have it, with the kit copied into it.
LEAKS in the environment says what Python runs it, for `make matrix ARGS="--session leaks"`; without
it, it is the one that runs these tests.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.drop_in import ALL_MODULES, copy_modules
from helpers.processes import processes_with, wait_until

SUITE = Path(__file__).with_name("suite")
PYTHON = json.loads(os.environ.get("LEAKS", "{}")).get("python", sys.executable)

AT_ONCE = 1.0
"""Seconds from the last test to the end of the last process, beyond those of a bare pytest.

More, where other processes leave a bare pytest only a part of the processor.
"""

CLEANUP_TIMEOUT = 0.5
"""That of the suite's service, whose cleanup waits for more than that."""

ATTEMPTS = 3
"""To be at once, beside what comes and goes on a machine; all the rest holds each time."""

TIMEOUT = 60.0

HEAD = """
import time
from pathlib import Path

import pytest

def end():
    Path("ended").write_text(str(time.time()))

def wait():
    for _ in range(1000):  # one long wait misses a signal that comes as it begins
        time.sleep(0.05)
"""

LEAKS = """
from leaks import LEAKS, PROGRAMS

def leak_all(leaks):
    for leak in leaks:
        leak()
"""

BARE = """
LEAKS = PROGRAMS = ()

def leak_all(leaks):
    pass

@pytest.fixture
def furnace():
    class Furnace:
        def burn(self): pass
    return Furnace()

@pytest.fixture(scope="session")
def broker():
    pass
"""

IN_TEST = """
def test_it():
    leak_all(LEAKS)
    end()
    {ending}

def test_another():
    end()
"""

IN_SERVICE = """
def test_it(furnace):
    leak_all([*LEAKS, *PROGRAMS])
    furnace.burn()
    end()
    {ending}
"""

IN_SESSION_FIXTURE = """
@pytest.fixture(scope="session")
def everything(broker):
    leak_all(LEAKS)
    end()
    {ending}

def test_it(everything):
    end()

def test_another():
    end()
"""

IN_MODULE = """
leak_all([leak for leak in LEAKS if "client" not in leak.__name__])  # there is no broker yet
end()
{ending}

def test_it():
    end()
"""

PLACES = {
    "test": IN_TEST,
    "service": IN_SERVICE,
    "session fixture": IN_SESSION_FIXTURE,
    "module": IN_MODULE,
}


class Ending(NamedTuple):
    """What ends a run, and the exit status that comes of it."""

    code: str
    status: int
    options: tuple[str, ...] = ()


ENDINGS = {
    "green": Ending("pass", 0),
    "Ctrl-C": Ending("wait()", 2),
    "failure": Ending("raise OSError('no gas')", 1, ("-x",)),
    "exit": Ending("pytest.exit('enough')", 2),
    "exit with status": Ending("pytest.exit('enough', returncode=7)", 7),
}

QUICK = {("test", "green"), ("service", "Ctrl-C"), ("session fixture", "failure")}

CASES = [
    pytest.param(
        place,
        ending,
        id=f"{place}, {ending}",
        marks=[] if (place, ending) in QUICK else [pytest.mark.slow],
    )
    for place in PLACES
    for ending in ENDINGS
]


def processor_time() -> float:
    """Return the seconds that the children have used which have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Run:
    """A run of pytest in a folder that writes there when its last test has ended."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._mark = f"LEAKS_MARK={folder}"
        self._ended = folder / "ended"
        self._began, self._used = time.monotonic(), processor_time()
        command = [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", *options]
        with self._output("out").open("w") as out, self._output("err").open("w") as err:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "LEAKS_MARK": str(folder)},
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def _output(self, name: str) -> Path:
        return self._folder / name

    def interrupt(self) -> None:
        """Press Ctrl-C at the end of the last test."""
        assert wait_until(lambda: self._ended.exists() and self._ended.read_text(), TIMEOUT)
        self._process.send_signal(signal.SIGINT)

    def end(self) -> None:
        """Wait for the end of it, and of all that it has started."""
        try:
            self.status = self._process.wait(TIMEOUT)
        except BaseException:  # with all that it has started and that is in its group
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(TIMEOUT)
            raise
        used = processor_time() - self._used
        self.slowness = max(1.0, (time.monotonic() - self._began) / used)
        is_clean = wait_until(lambda: not processes_with(self._mark))
        self.seconds = time.time() - float(self._ended.read_text())
        self.left = [] if is_clean else processes_with(self._mark)
        self.stdout, self.stderr = (self._output(name).read_text() for name in ("out", "err"))


def run(folder, text, ending):
    """Run a file of tests, and give it its ending."""
    code, _, options = ENDINGS[ending]
    (folder / "ended").unlink(missing_ok=True)  # of an earlier attempt
    (folder / "tests" / "test_the_end.py").write_text(HEAD + text.format(ending=code))
    run = Run(folder, "tests/test_the_end.py", *options)
    if ending == "Ctrl-C":
        run.interrupt()
    run.end()
    return run


@pytest.fixture
def repository(tmp_path):
    """The suite, with the kit."""
    repository = Path(shutil.copytree(SUITE, tmp_path / "repository"))
    modules = [name for name in ALL_MODULES if not name.startswith("camera")]
    copy_modules(modules, repository / "tests")
    return repository


@pytest.fixture
def bare(tmp_path):
    """A repository that has neither the kit nor a leak."""
    (tmp_path / "bare" / "tests").mkdir(parents=True)
    return tmp_path / "bare"


def assert_silent(run):
    assert run.stderr == ""
    assert run.left == []
    assert "warning" not in run.stdout.lower()
    assert "Traceback" not in run.stdout
    assert "ignored" not in run.stdout


@pytest.mark.usefixtures("few_plugins")
class TestEnd:
    @pytest.mark.parametrize(("place", "ending"), CASES)
    def test_comes_at_once_and_in_silence(self, repository, bare, place, ending):
        said = []
        for _ in range(ATTEMPTS):
            usual = run(bare, BARE + PLACES[place], ending)
            leaking = run(repository, LEAKS + PLACES[place], ending)
            if place != "module":
                assert usual.status == ENDINGS[ending].status
            assert leaking.status == usual.status
            assert_silent(leaking)
            limit = AT_ONCE * usual.slowness + CLEANUP_TIMEOUT * (place == "service")
            said.append(f"{leaking.seconds:.2f} s, bare {usual.seconds:.2f} s, limit {limit:.2f} s")
            if leaking.seconds - usual.seconds < limit:
                return
        pytest.fail(f"it does not end at once: {said}")

    @pytest.mark.slow
    @pytest.mark.parametrize("options", [[], ["-p", "xdist", "-n", "2"]], ids=["alone", "xdist"])
    def test_of_a_suite_that_leaks_by_every_test(self, repository, options):
        if options:
            pytest.importorskip("xdist")
        suite = Run(repository, *options)
        (repository / "ended").write_text(str(time.time()))
        suite.end()
        assert suite.status == 0, suite.stdout
        assert_silent(suite)
