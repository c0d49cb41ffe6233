"""Ends the asyncio tasks that a test leaves, and names them.

The runner of an event loop cancels what is left as it closes the loop, once, and then waits without
end. A task goes on that catches the cancellation, or is cancelled in ``asyncio.wait_for()`` before
Python 3.12 just as that is done. So they are cancelled until they are gone.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Collection, Iterator
from traceback import walk_stack
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest

from ..originals import KIT, variable
from ..pytest_internals import LEAKS_ON_PURPOSE, leaks_on_purpose
from ..summary import add_to_summary
from .families import Family

if TYPE_CHECKING:
    import asyncio

PAUSES = (0.5, 0.1, 0.1, 0.1, 0.1)
"""Seconds that tasks get to end after each time that they are cancelled."""

RUNNERS = ("asyncio.runners", "backports.asyncio.runner.runner", "anyio._backends._asyncio")
"""Modules whose runners end what is left by a function of their own."""

CANCEL = "_cancel_all_tasks"

TEAR_DOWN = "_tearDownAsyncioLoop"
"""Of ``unittest.IsolatedAsyncioTestCase``, which has a runner only since Python 3.11."""

_OF_RUNNERS = ("anyio.", "pytest_asyncio.", "unittest.")


class LingeringTasks:
    """Ends what tests leave in event loops: in those that close, and in those that go on.

    It is a plugin of runs that have async tests.
    """

    def __init__(self) -> None:
        self.test: pytest.Item | None = None
        """The one that runs, or ran last."""
        self._patch = pytest.MonkeyPatch()
        self._patched: set[str] = set()
        self._loops: weakref.WeakSet[Any] = weakref.WeakSet()
        self._of_others = Family()
        self._unsure = Family()

    @property
    def is_excused(self) -> bool:
        """Whether the test is marked to leave something."""
        return self.test is not None and leaks_on_purpose(self.test)

    def begin(self) -> None:
        """Take what there is already for that of others."""
        for name in RUNNERS:
            if name not in self._patched and hasattr(sys.modules.get(name), CANCEL):
                self._patched.add(name)
                self._patch.setattr(f"{name}.{CANCEL}", self._end_all)
        case = getattr(sys.modules.get("unittest.async_case"), "IsolatedAsyncioTestCase", None)
        if TEAR_DOWN not in self._patched and hasattr(case, TEAR_DOWN):
            self._patched.add(TEAR_DOWN)
            self._patch.setattr(case, TEAR_DOWN, self._ending_first(getattr(case, TEAR_DOWN)))
        for loop in self._open_loops():
            self._of_others.add(loop, tasks_in(loop))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """Know pytest-asyncio's event loops from their beginning."""
        outcome: Any = yield
        name = fixturedef.argname.rstrip(">")  # "...event_loop" before pytest-asyncio 1.1
        if name.endswith(("_scoped_runner", "event_loop")) and outcome.excinfo is None:
            made = outcome.get_result()
            self.know(made.get_loop() if hasattr(made, "get_loop") else made)

    def know(self, loop: asyncio.AbstractEventLoop) -> None:
        """Know a loop from here on; what it runs by now may be that of a wider fixture."""
        if loop not in self._loops:
            self._loops.add(loop)
            self._unsure.add(loop, tasks_in(loop))

    def end(self) -> None:
        """End what the test has left in the loops that go on."""
        for loop in self._open_loops() if not self.is_excused else ():
            kept = {*self._of_others, *self._unsure}
            tasks = tasks_in(loop) - kept
            if tasks and not loop.is_running():
                loop.run_until_complete(self.ended(tasks))

    def close(self) -> None:
        """Leave the runners as they were."""
        self._patch.undo()
        self._patched.clear()
        self.test = None

    def _open_loops(self) -> Iterator[Any]:
        return (loop for loop in tuple(self._loops) if not loop.is_closed())

    def _end_all(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stand in for what a runner calls as it closes its loop."""
        import asyncio

        tasks = asyncio.all_tasks(loop)
        # The end of asyncio.run() is how programs end their tasks.
        is_program = any(f.f_code is asyncio.run.__code__ for f, _ in walk_stack(None))
        for task in loop.run_until_complete(self.ended(tasks, is_expected=is_program)):
            if not task.cancelled() and task.exception() is not None:
                message = "unhandled exception as the tasks that are left were cancelled"
                context = {"message": message, "exception": task.exception(), "task": task}
                loop.call_exception_handler(context)

    def _ending_first(self, tear_down: Callable[[Any], None]) -> Callable[[Any], None]:
        @functools.wraps(tear_down)
        def end_and_tear_down(case: Any) -> None:
            loop = vars(case)["_asyncioTestLoop"]
            loop.run_until_complete(self.ended(tasks_in(loop)))
            tear_down(case)

        return end_and_tear_down

    async def ended(self, tasks: Collection[Any], *, is_expected: bool = False) -> set[Any]:
        """Cancel *tasks*, of the loop that runs, until they are gone; return those that are.

        All are named, or where it is expected that there are some, those that are stubborn.
        """
        import asyncio

        places = {task: place_of(task) for task in tasks if not _is_runner(task)}
        own = {task for task in places if _own_frames(task)}  # others run for the sake of these
        stubborn: set[Any] = set()
        left = set(tasks)
        for pause in PAUSES if left else ():
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=pause)
            if not left:
                break
            stubborn |= left
        for task in () if self.is_excused else own or places:
            if task in stubborn or not is_expected:
                self._name(task, places[task] + _OUTCOMES[(task in stubborn) + (task in left)])
        return set(tasks) - left

    def _name(self, task: Any, what: str) -> None:
        test = variable("PYTEST_CURRENT_TEST", "no test").split(" ")[0]
        origin = "a fixture of a wider scope" if task in self._of_others else test
        add_to_summary(
            "asyncio tasks left running (cancelled)",
            f"{origin}: {what}. Cancel it and await its end, or mark the test {LEAKS_ON_PURPOSE}",
        )


_OUTCOMES = ("", ", which did not let itself be cancelled at once", ", which goes on nevertheless")


def tasks_in(loop: asyncio.AbstractEventLoop) -> set[Any]:
    """Return the tasks in *loop*, but for those in which a plugin runs its tests."""
    import asyncio

    return {task for task in asyncio.all_tasks(loop) if not _is_runner(task)}


def _frames_of(task: Any) -> Iterator[FrameType]:
    """Give the frame of a task, and of each further coroutine that the one before awaits."""
    coroutine = task.get_coro()
    while getattr(coroutine, "cr_frame", None) is not None:
        yield coroutine.cr_frame
        coroutine = coroutine.cr_await


def _own_frames(task: Any) -> list[FrameType]:
    """Return where a task stands in code that is no library's."""
    return [f for f in _frames_of(task) if not f.f_code.co_filename.startswith(libraries())]


@functools.cache
def libraries() -> tuple[str, ...]:
    """Return the folders of code that is neither the suite's nor the service's."""
    import sysconfig  # on use: it takes its time

    return tuple({sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")})


def _is_runner(task: Any) -> bool:
    """Return whether a task is the one in which a plugin runs its tests."""
    frame = next(_frames_of(task), None)
    return frame is not None and frame.f_globals.get("__name__", "").startswith(_OF_RUNNERS)


def place_of(task: Any) -> str:
    """Say what a task runs, and where it stands, in code that is no library's if there is."""
    name = getattr(task.get_coro(), "__qualname__", task.get_name())
    for frame in (_own_frames(task) or list(_frames_of(task)))[-1:]:
        if frame.f_code.co_filename.startswith(KIT):
            return f"task {name}, which is held"
        return f"task {name}, which stands in {frame.f_code.co_filename}:{frame.f_lineno}"
    return f"task {name}"


lingering_tasks = LingeringTasks()
