"""The behaviours of one subject, and how their recordings are compared."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

import pytest
from mqtt_test_broker import TestMQTTBroker

from helpers.conformance.recording import (
    APIS,
    MQTT_3,
    MQTT_5,
    Broker,
    Dialect,
    MakeClient,
    Recorder,
    Source,
    acquired,
    lent,
    plain,
)

Behaviour = Callable[[MakeClient, Recorder, Broker], None]


@dataclass(eq=False)
class Case:
    """A behaviour, and where it applies."""

    run: Behaviour
    connected: bool
    protocols: tuple[Any, ...]
    apis: tuple[int, ...]
    marks: list[Any] = field(default_factory=list)


class Behaviours:
    """Collects behaviours: a decorator.

    Args:
        connected: the clients come connected, with their network loop running; then those of
            ``pool.acquire()`` take part as well.
        protocols: the versions of MQTT that it exists in.
        apis: the versions of paho's callbacks that it exists in.
        needs: whether the installed paho has what it needs.
    """

    def __init__(self) -> None:
        self._cases: list[Case] = []

    def __call__(
        self,
        *,
        connected: bool = False,
        protocols: tuple[Any, ...] = MQTT_3 + MQTT_5,
        apis: tuple[int, ...] = APIS,
        needs: bool = True,
    ) -> Callable[[Behaviour], Behaviour]:
        """Collect a behaviour."""

        def collect(run: Behaviour) -> Behaviour:
            marks: list[Any] = []
            if not needs:
                marks.append(pytest.mark.skip(reason="needs a newer paho-mqtt"))
            self._cases.append(Case(run, connected, protocols, apis, marks))
            return run

        return collect

    def parameters(self) -> Iterator[Any]:
        """Give every behaviour in every dialect with every source of clients."""
        for case in self._cases:
            for protocol in case.protocols:
                for api in case.apis:
                    dialect = Dialect(protocol, api)
                    for source in (lent, acquired) if case.connected else (lent,):
                        name = f"{name_of_behaviour(case)}-{dialect}-{source.__name__}"
                        yield pytest.param(case, dialect, source, marks=case.marks, id=name)


def every_comparison(behaviours: Behaviours) -> Callable[[Any], Any]:
    """Parametrize a test with case, dialect and source."""
    parametrize = pytest.mark.parametrize(
        ("case", "dialect", "source"), list(behaviours.parameters())
    )
    mark = pytest.mark.filterwarnings("ignore:Callback API version 1:DeprecationWarning")
    return lambda test: mark(parametrize(test))


def record(case: Case, dialect: Dialect, source: Source) -> list[str]:
    """Run a behaviour on an empty broker and return what its clients saw."""
    recorder = Recorder()
    with TestMQTTBroker() as process, source(process, case.connected) as (make, address):
        make_client = functools.partial(make, **dialect.options)
        case.run(make_client, recorder, Broker(address, process))
        return recorder.lines()


def name_of_behaviour(case: Case) -> str:
    return getattr(case.run, "__name__", "behaviour")


@functools.cache
def record_plain(case: Case, dialect: Dialect) -> list[str]:
    """Run a behaviour with plain clients, once for all kinds of loan."""
    return record(case, dialect, plain)


def assert_same(case: Case, dialect: Dialect, source: Source) -> None:
    """Check that clients of a source see what plain ones see."""
    expected = record_plain(case, dialect)
    assert expected, "a behaviour that records nothing proves nothing"
    recording = record(case, dialect, source)
    difference = difflib.unified_diff(expected, recording, "plain", "on loan", lineterm="", n=1)
    assert recording == expected, "\n".join(difference)
