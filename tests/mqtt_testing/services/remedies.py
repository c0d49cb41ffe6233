"""Says in the report of a failed test what to do, where the reason is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from .conftests import names_of
from .fixture import services_of_test
from .override import overrides_for
from .refusals import ONE_TEST_ONLY

_ALWAYS = {
    "cannot schedule new futures after interpreter shutdown": (
        "Ensure concurrent_futures_fix is imported in conftest.py: "
        "from concurrent_futures_fix import fix_concurrent_futures"
    ),
}
_CALLED = 'Fixture "fast_service" called directly'


class _Reminder(NamedTuple):
    task: str
    fixture: str
    result: str

    def remedies(self, text: str, item: pytest.Item) -> Iterator[str]:
        """Yield what to do where *text* is the report of a test that did not run the task."""
        if f"has no attribute '{self.task}'" in text:
            yield (
                "Using old fixture. Ensure conftest.py imports the optimized fixture, so that it "
                f"takes the place of {self.fixture}, and that CAMERA_DETECTOR_FIXTURE is not set "
                "to 'original'."
            )
        elif self.result in text and self._is_due(item):
            yield (
                f"There are no {self.result}, and {self.task}() was not run: under this fixture "
                "nothing runs in the background. Change from implicit to explicit: "
                f"{self.fixture}.{self.task}()"
            )

    def _is_due(self, item: pytest.Item) -> bool:
        return any(
            self.task in under_test.tasks
            and self.task not in under_test.tasks_run
            and not getattr(under_test.service, self.result, True)
            for under_test in item.stash.get(services_of_test, [])
        )


_reminders: list[_Reminder] = []


def remind_of_task(task: str, *, of: str, result: str) -> None:
    """Let reports remind of a task that no longer runs in the background.

    They do where a test fails for what the task would have brought about, and has not run it.

    Usage: ``remind_of_task("run_poll_once", of="thermostat", result="temperatures")``.

    Args:
        task: the method that runs it.
        of: the fixture that gives the service.
        result: the attribute of the service that is empty until the task was run.
    """
    _reminders.append(_Reminder(task, of, result))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add the remedies to the report of a test that failed for a reason we know."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        remedies = _remedies(report.longreprtext, item)
        report.sections += [("what to do", remedy) for remedy in remedies]


def _remedies(text: str, item: pytest.Item) -> Iterator[str]:
    for override in overrides_for(item):
        if f"access the function scoped fixture {override.name} with" in text:
            yield ONE_TEST_ONLY.format(override.name, "the fixture that asks for it")
        elif _CALLED in text:
            for fast in names_of(override.fixture, item):
                yield (
                    "A fixture cannot be called like a function. Ask for it by name instead: "
                    f"def {override.name}({fast}): return {fast}. A fixture {override.name} needs "
                    f"nothing at all: {fast} takes its place."
                )
    yield from (remedy for sign, remedy in _ALWAYS.items() if sign in text)
    for reminder in _reminders:
        yield from reminder.remedies(text, item)
    for under_test in item.stash.get(services_of_test, []):
        if under_test.is_connected is False:
            yield _why_not_connected(under_test.service)


def _why_not_connected(service: Any) -> str:
    methods = [n for n in _USUAL_STARTS if callable(getattr(service, n, None))]
    method = [*methods, "..."][0]
    option = "run" if method == "run" else "start"
    return (
        f"{type(service).__name__} had connected no client of paho-mqtt when the test began. Has "
        f"it a method that starts it? service_fixture(..., {option}={method!r})"
    )


_USUAL_STARTS = ("start", "connect", "run", "open", "begin", "setup")
