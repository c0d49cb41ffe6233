"""Where the main thread stands: seconds by line of the repository, and what hangs.

A thread looks at it fifty times a second. It is a raw one, which no list of threads has, so that
tests that look for threads left running do not find it.
"""

from __future__ import annotations

import _thread
import linecache
import os
import re
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Callable, NamedTuple

INTERVAL = 0.02
GRACE = 10.0
"""Seconds that pytest gets to end after the interrupt, before it is killed."""

WORTH_TELLING = 0.05
_SHOWN = 3

_LOOP = "the event loop"

_clock = time.perf_counter  # tests replace the name


class Place(NamedTuple):
    """A line of the repository, and what it waits for."""

    file: str
    line: int
    kind: str


# What a wait is for, by the files that run below the line of the repository, the innermost first.
_KINDS = (
    (re.compile(r"subprocess\.py$"), "a process"),
    (re.compile(r"[/\\]concurrent[/\\]futures[/\\]"), "a future"),
    (re.compile(r"queue\.py$"), "a queue"),
    (re.compile(r"mqtt_testing.*(monitor|observer|awaiting)\.py$"), "an MQTT message"),
    (re.compile(r"[/\\](paho|aiomqtt|gmqtt|amqtt)[/\\]"), "an MQTT client"),
    (
        re.compile(r"(socket|ssl)\.py$|[/\\](http|urllib3?|requests)[/\\]"),
        "the network",
    ),
    (re.compile(r"[/\\]asyncio[/\\]|selectors\.py$"), _LOOP),
    (re.compile(r"mqtt_testing"), "a fixture of the modules"),
    (re.compile(r"threading\.py$"), "another thread"),
)
_SLEEP = re.compile(r"\bsleep\(|\bpause\(")
_LOCK = re.compile(r"\.(acquire|join|wait|get)\(")


class Watch:
    """The thread that looks."""

    def __init__(self, root: Path, timeout: float, tell: Callable[..., None]) -> None:
        self._root = os.path.realpath(root) + os.sep
        self._timeout = timeout
        self._tell = tell
        self._main = threading.get_ident()
        self._what = "pytest, as it starts"
        self._began = _clock()
        self._seconds: defaultdict[Place, float] = defaultdict(float)
        self._in_repository: dict[str, bool] = {}
        self._end = _thread.allocate_lock()
        self._end.acquire()
        _thread.start_new_thread(self._look, ())

    def begin(self, what: str) -> list[tuple[str, int, str, float]]:
        """Note what begins; return where what ends has waited longest, the longest first."""
        return [at for at in self.turn_to(what)[:_SHOWN] if at[-1] >= WORTH_TELLING]

    def turn_to(self, what: str) -> list[tuple[str, int, str, float]]:
        """Note what begins; return everywhere that what ends has waited, the longest first."""
        seconds, self._seconds = self._seconds, defaultdict(float)
        self._what, self._began = what, _clock()
        longest = sorted(seconds.items(), key=lambda item: -item[1])
        return [(*place, round(s, 3)) for place, s in longest]

    def end(self) -> None:
        """Stop looking."""
        if self._end.locked():
            self._end.release()

    def _look(self) -> None:
        last = _clock()
        while not self._end.acquire(True, INTERVAL):
            now = _clock()
            place = self._place()
            if place is not None:
                self._seconds[place] += now - last
            last = now
            if now - self._began > self._timeout:
                self._give_up(place)
                return

    def _give_up(self, place: Place | None) -> None:
        self._tell(hang={"what": self._what, "at": place})
        signal.pthread_kill(self._main, signal.SIGINT)
        if not self._end.acquire(True, GRACE):
            os.killpg(os.getpgrp(), signal.SIGKILL)  # its parent has made the group for it

    def _place(self) -> Place | None:
        frame = sys._current_frames().get(self._main)  # noqa: SLF001
        try:
            found = self._place_in(frame)
            return found or self._place_in_tasks(frame)
        except (RuntimeError, AttributeError, ValueError):  # it runs on while we look
            return None

    def _place_in(self, frame: FrameType | None) -> Place | None:
        below: list[CodeType] = []
        while frame is not None:
            if self._is_of_the_repository(frame.f_code.co_filename):
                return self._described(frame.f_code, frame.f_lineno, below)
            below.append(frame.f_code)
            frame = frame.f_back
        return None

    def _described(self, code: CodeType, line: int, below: list[CodeType]) -> Place:
        text = linecache.getline(code.co_filename, line)
        return Place(code.co_filename[len(self._root) :], line, _kind(below, text))

    def _is_of_the_repository(self, file: str) -> bool:
        if file not in self._in_repository:
            parts = Path(file[len(self._root) :]).parts
            others = {"site-packages", "dist-packages", "mqtt_testing", "mqtt_testing_probes"}
            is_inside = file.startswith(self._root) and not others.intersection(parts)
            # Our folder may have another name.
            is_ours = any((p / "pytest_internals.py").exists() for p in Path(file).parents)
            hidden = any(part.startswith(".") and part != ".mqtt-migration" for part in parts)
            self._in_repository[file] = is_inside and not is_ours and not hidden
        return self._in_repository[file]

    # --- Where the main thread runs an event loop, its tasks tell ------------------------------

    def _place_in_tasks(self, frame: FrameType | None) -> Place | None:
        while frame is not None and frame.f_code.co_name != "_run_once":
            frame = frame.f_back
        asyncio: Any = sys.modules.get("asyncio")
        if frame is None or asyncio is None:
            return None
        test = self._what.partition("::")[0]
        places = [self._place_of_coroutine(t.get_coro()) for t in asyncio.all_tasks(_loop(frame))]
        found = [place for place in places if place is not None]
        return min(found, key=lambda place: not place.file.endswith(test), default=None)

    def _place_of_coroutine(self, coroutine: Any) -> Place | None:
        place = None
        for frame in _frames_of(coroutine):
            if self._is_of_the_repository(frame.f_code.co_filename):
                place = self._described(frame.f_code, frame.f_lineno, [])
        return place and place._replace(kind=place.kind if place.kind == "sleep" else _LOOP)


def _loop(frame: FrameType) -> Any:
    return frame.f_locals["self"]


def _frames_of(coroutine: Any) -> Iterator[FrameType]:
    """Yield the frames of a coroutine and of what it awaits, from the outside in."""
    for _ in range(100):
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is None:
            return
        yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)


def _kind(below: list[CodeType], line: str) -> str:
    if _SLEEP.search(line) or any(code.co_name == "sleep" for code in below):
        return "sleep"
    for pattern, kind in _KINDS:
        if any(pattern.search(code.co_filename) for code in below):
            return kind
    return "another thread" if _LOCK.search(line) else "its own work"
