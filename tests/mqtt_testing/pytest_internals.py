"""Everything that reaches into pytest's private names."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from traceback import walk_stack
from types import ModuleType
from typing import Any, Callable

import pytest
from _pytest import fixtures

from .originals import threading

NEEDED = (
    "FixtureDef.argname",
    "FixtureDef.argnames",
    "FixtureDef.cached_result",
    "FixtureDef.func",
    "FixtureDef.params",
    "FixtureDef.scope",
    "FixtureManager._getautousenames",
    "FixtureManager.getfixturedefs",
    "FuncFixtureInfo.initialnames",
    "FuncFixtureInfo.name2fixturedefs",
    "FuncFixtureInfo.names_closure",
    "Function._fixtureinfo",
    "Function._initrequest",
    "Session._fixturemanager",
    "fixtures.pytest_fixture_setup",
    "fixture._fixture_function or __pytest_wrapped__",  # since pytest 8.4, and before
    "fixture._fixture_function_marker or _pytestfixturefunction",
)
"""What the kit needs of pytest besides what pytest documents."""

SCOPES = ("session", "package", "module", "class", "function")


def check_pytest() -> None:
    """Check that pytest has everything that is needed.

    Raises:
        ImportError: it has not.
    """
    for needed in NEEDED:
        if not is_there(needed):
            version = ".".join(map(str, pytest.version_tuple[:2]))
            raise ImportError(
                f"pytest {version} has no {needed}: update the folder mqtt_testing, or pin "
                f"pytest<{version}"
            )


def is_there(needed: str) -> bool:
    """Return whether pytest has a name of `NEEDED`."""
    owner_name, _, names = needed.partition(".")
    owners = {**vars(fixtures), **vars(pytest), "fixtures": fixtures}
    owners["fixture"] = pytest.fixture(lambda: None)
    owner = owners.get(owner_name)
    return any(_has_attribute(owner, name) for name in names.split(" or "))


def _has_attribute(owner: Any, name: str) -> bool:
    """Return whether objects of the class *owner* have an attribute, be it set by __init__."""
    code = getattr(getattr(owner, "__init__", None), "__code__", None)
    places = (getattr(code, "co_names", ()), getattr(owner, "__annotations__", ()))
    return hasattr(owner, name) or any(name in place for place in places)


# --- What @pytest.fixture has made ------------------------------------------------------------


def marker_of(value: Any) -> Any:
    """Return the options of the fixture that *value* is; None where it is none."""
    for name in ("_fixture_function_marker", "_pytestfixturefunction"):
        # Not getattr: proxies such as flask.request raise whatever they like.
        marker = inspect.getattr_static(value, name, None)
        if type(marker).__name__ == "FixtureFunctionMarker":
            return marker
    return None


def function_of(fixture: Any) -> Any:
    """Return the function that a fixture was made of."""
    return getattr(fixture, "_fixture_function", None) or fixture.__pytest_wrapped__.obj


_numbers = itertools.count(1)


def define(session: pytest.Session, name: str, fixture: Any, also: Sequence[str] = ()) -> Any:
    """Make pytest's definition of a fixture *name* that no test sees.

    Args:
        session: the run it is for.
        name: what reports call it.
        fixture: what it is made of.
        also: the parameters that it gets besides its own.
    """
    marker = marker_of(fixture)
    bare = pytest.fixture(scope=marker.scope, params=marker.params, ids=marker.ids)
    unseen = f"{name} (override {next(_numbers)})"  # no parameter of a test can be called so
    holder = ModuleType(unseen)
    setattr(holder, unseen, bare(function_of(fixture)))
    session.config.pluginmanager.register(holder, unseen)
    session.config.pluginmanager.unregister(holder)  # pytest has what it defines
    [definition] = definitions_of(unseen, session)
    definition.argname = name
    definition.argnames = (*definition.argnames, *also)
    return definition


# --- What a test gets -------------------------------------------------------------------------


def has_fixtures(item: pytest.Item) -> bool:
    """Return whether a test, perhaps one of a plugin's own kind, can ask for fixtures."""
    return hasattr(item, "_fixtureinfo")


def definitions_of(name: str, node: pytest.Item | pytest.Session) -> Sequence[Any]:
    """Return the definitions of a fixture that a test sees, the nearest last."""
    return _ask(_manager_of(node).getfixturedefs, node, name) or ()


def is_autouse(name: str, item: pytest.Item) -> bool:
    """Return whether a test gets a fixture that it need not ask for."""
    return name in _ask(_manager_of(item)._getautousenames, item)


def _manager_of(node: Any) -> Any:
    return node.session._fixturemanager


def _ask(method: Callable[..., Any], node: Any, *arguments: str) -> Any:
    return method(*arguments, node if pytest.version_tuple >= (8, 1) else node.nodeid)


def definition_to_replace(name: str, item: pytest.Item) -> Any:
    """Return the definition of a fixture that a test gets; None where it gets no such one.

    So it is where another is in front already, or the test gives the value itself
    (`pytest.mark.parametrize`).
    """
    info = _info(item)
    visible = definitions_of(name, item)
    known = info.name2fixturedefs.get(name, () if name in info.names_closure else visible)
    return visible[-1] if visible and known and known[-1] is visible[-1] else None


def value_in_use(name: str, item: pytest.Item) -> Any:
    """Return what a fixture that a test needs has made; None where it has made nothing yet."""
    known = _info(item).name2fixturedefs.get(name) if has_fixtures(item) else None
    result = known[-1].cached_result if known else None
    return result[0] if result else None


def scope_in_use(name: str, item: pytest.Item) -> str:
    """Return the scope of a fixture that a test needs."""
    return _scope_in(_info(item).name2fixturedefs, name)


def definitions_in_use(item: pytest.Item) -> Iterator[Any]:
    """Return the definitions of all fixtures that a test needs."""
    known = _info(item).name2fixturedefs
    return (known[name][-1] for name in _info(item).names_closure if known.get(name))


def definitions_below(name: str, item: pytest.Item) -> Iterator[Any]:
    """Return the definitions of a fixture and of all that it needs in a test."""
    for needed in _closure(item, [name]):
        yield from _chain(needed, _info(item).name2fixturedefs.get(needed, ()))


def put_in_front(name: str, definition: Any, item: pytest.Item) -> None:
    """Give a test another definition of a fixture, and what that one needs.

    It has to be done before pytest parametrizes the test.
    """
    info = _info(item)
    own = _closure(item, info.initialnames)
    of_plugins = [needed for needed in info.names_closure if needed not in own]
    info.name2fixturedefs[name] = [*definitions_of(name, item), definition]
    info.names_closure[:] = _closure(item, [*info.initialnames, *of_plugins])


def replaced_in(name: str, definition: Any, item: pytest.Item) -> Any:
    """Return the definition that *definition* was put in front of, if it was in a test."""
    known = _info(item).name2fixturedefs.get(name, ()) if has_fixtures(item) else ()
    return known[-2] if known and known[-1] is definition else None


def sets_up_for_several_tests() -> bool:
    """Return whether a fixture is set up now that is wider than a test; ``setUpClass`` is one."""
    innermost = sys._current_frames().get(threading.main_thread().ident or 0)
    set_up = fixtures.pytest_fixture_setup.__code__
    frames = [frame for frame, _ in walk_stack(innermost) if frame.f_code is set_up]
    return any(frame.f_locals["fixturedef"].scope != "function" for frame in frames)


def renew_request(item: pytest.Item) -> None:
    """Let the `request` of a test know its fixtures: it was made before they were changed."""
    item._initrequest()  # type: ignore[attr-defined]


def _info(item: pytest.Item) -> Any:
    return item._fixtureinfo  # type: ignore[attr-defined]


def _closure(item: pytest.Item, names: Iterable[str]) -> list[str]:
    """Return *names* and those of all fixtures that they need, in the order of their set-up."""
    known = _info(item).name2fixturedefs
    closure = list(dict.fromkeys(names))
    for name in closure:  # which grows
        if name not in known:
            found = definitions_of(name, item)
            known.update({name: found} if found else {})
        for definition in _chain(name, known.get(name, ())):
            closure += [needed for needed in definition.argnames if needed not in closure]
    return sorted(closure, key=lambda name: SCOPES.index(_scope_in(known, name)))


def _scope_in(known: Mapping[str, Sequence[Any]], name: str) -> str:
    return known[name][-1].scope if known.get(name) else "function"


def _chain(name: str, definitions: Sequence[Any]) -> Iterator[Any]:
    """Yield the nearest definition, and each further one that the one before asks for."""
    for definition in reversed(definitions):
        yield definition
        if name not in definition.argnames:
            break


# --- Markers ----------------------------------------------------------------------------------

LEAKS_ON_PURPOSE = "leaks_on_purpose"


def leaks_on_purpose(item: pytest.Item) -> bool:
    """Return whether a test is marked as one that needs a real leak."""
    return item.get_closest_marker(LEAKS_ON_PURPOSE) is not None
