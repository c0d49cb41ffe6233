"""Which slow fixtures a fast one cannot replace."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from ..pytest_internals import (
    definitions_below,
    definitions_in_use,
    function_of,
    is_autouse,
    marker_of,
)

ONE_TEST_ONLY = (
    "the fast {0} is one test's own, where {1} serves several. Make {1} function-scoped, or let "
    "it do without {0}"
)


def is_made_of(name: str, item: pytest.Item, fast: Any) -> bool:
    """Return whether the fixture that a test gets is the fast one, or makes use of it."""
    function = inspect.unwrap(function_of(fast))
    return any(inspect.unwrap(d.func) is function for d in definitions_below(name, item))


def reason_to_refuse(slow: Any, name: str, fast: Any, item: pytest.Item) -> str | None:
    """Return why a slow definition has to stay in a test; None where it need not."""
    marker = marker_of(fast)
    if name in slow.argnames:
        return "it extends another fixture of its name, which stays slow. Extend the fast one"
    takes_params = marker.params or _reads_of_request(function_of(fast), "param")
    if (slow.params or _reads_of_request(slow.func, "param")) and not takes_params:
        return (
            "it is parametrized, and its variants would be lost. Override it with a fixture that "
            "has its params and asks for the fast one"
        )
    if is_autouse(name, item) and not marker.autouse:
        return (
            "it is autouse, which the fast one is not: tests that do not ask for it may need what "
            "else it does. Do that in an autouse fixture of another name"
        )
    if _reads_of_request(slow.func, "cls"):
        return (
            "it gives the class something (request.cls), which the fast one does not. Do that in "
            "an autouse fixture of its own, which asks for this one"
        )
    users = [d for d in definitions_in_use(item) if name in d.argnames and d.scope != "function"]
    if users and marker.scope == "function":
        wider = users[0].argname
        reason = ONE_TEST_ONLY.format(name, wider)
        return f"the fixture {wider} uses it, and {reason}. Tests without {wider} get the fast one"
    return None


def _reads_of_request(function: Any, attribute: str) -> bool:
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or "request" not in code.co_varnames:
        return False
    return attribute in (*code.co_names, *code.co_consts)  # getattr(request, "param", None), too


def added_parameters(slow: Any, fast: Any) -> tuple[str, ...]:
    """Return the parameters of a slow definition that the fast one gets, too.

    They are the fakes that the service needs; brokers it does not. A fixture of service_fixture()
    takes them all. As parameters, since a test may parametrize one indirectly, which pytest
    allows only where a fixture has it as a parameter.
    """
    parameters = inspect.signature(function_of(fast)).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return ()
    return tuple(
        name
        for name in slow.argnames
        if name not in parameters and not any(word in name for word in ("broker", "mosquitto"))
    )
