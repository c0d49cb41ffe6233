"""The lines of conftest.py that give a service a fast fixture, with what was guessed said."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping

from shared.commands import CannotRunError

from ..conftest_text import conftest_of
from ..findings.connections import REDIRECT
from ..findings.parsing import FUNCTIONS, Function, unparsed
from ..findings.suite import Suite
from ..options import FUTURES, SERVICE_MODULES, SERVICE_SOURCE, Import, Option
from ..repository import Repository
from ..wiring import led_by_fixture, wired_services
from .broker_lines import BrokerLines
from .brokers import needs_redirection, own_brokers
from .builder import Builder, is_call_of
from .classes import ENDS, STARTS, ServiceClass, service_class
from .recipe import Recipe, read
from .source_text import Text, body_of, place_of


def service_option(
    repository: Repository, service: str, fixture: str, modules: Mapping[str, str]
) -> Option:
    """Return the wiring for a service.

    Args:
        repository: what it is for.
        service: the class, or the function that builds the service, as `package.module:Name`.
        fixture: the slow fixture.
        modules: the modules that fixtures come from, by the names of the fixtures.
    """
    place, _, name = service.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in place.split(".")):
        raise CannotRunError(f"--service takes package.module:Class, not {service}")
    suite = Suite(repository.root, repository.tests)
    described = service_class(suite, f"{place}.{name}")
    if described.node is None:
        raise CannotRunError(f"{service} was not found: there is no {name} in a {place} here")
    if isinstance(described.node, FUNCTIONS) and not _returns_something(described.node):
        raise CannotRunError(
            f"{service} returns nothing, so it builds no service: name a class by --service. For a "
            "coroutine that serves, docs/asyncio.md shows one"
        )
    text = Text([f"from {place} import {name}"])
    slow = _slow_fixture(suite, fixture)
    is_new = slow is None and fixture not in modules
    writer = _Writer(repository, suite, described, fixture, text, modules)
    brokers = [b for b in own_brokers(suite) if not suite.is_overridden(b.name)]
    definitions = BrokerLines(repository, text).of_brokers(brokers) + writer.of_service(slow)
    redirects = needs_redirection(suite) and not _is_led(repository, fixture)
    redirect = (Import("shared_mqtt_pool", (REDIRECT,), is_used=True),) if redirects else ()
    overrides = bool(brokers) or not is_new
    names = ("override_fixture", "service_fixture") if overrides else ("service_fixture",)
    return Option(
        modules=SERVICE_MODULES,
        imports=(FUTURES, Import("optimized_service_fixture", names, is_used=True), *redirect),
        fixture=fixture,
        source=SERVICE_SOURCE,
        serves=f"tests that use a fixture {fixture}",
        needs_fixture=not is_new,
        definitions=definitions,
        redirection=f"{REDIRECT}()" if redirects else "",
        ports=frozenset(broker.port for broker in brokers if broker.port is not None),
        more_imports=tuple(dict.fromkeys(text.imports)),
        remarks=tuple(text.remarks),
    )


def _returns_something(function: ast.AST) -> bool:
    return any(isinstance(n, ast.Return) and n.value is not None for n in ast.walk(function))


def _is_led(repository: Repository, fixture: str) -> bool:
    """Return whether the service is wired, or the suite's clients are led by a fixture."""
    return fixture in wired_services(repository) or led_by_fixture(conftest_of(repository))


def _slow_fixture(suite: Suite, name: str) -> Function | None:
    return next((f for f in suite.fixtures() if f.fixture_name == name), None)


class _Writer:
    """Writes the definitions."""

    def __init__(
        self,
        repository: Repository,
        suite: Suite,
        service: ServiceClass,
        fixture: str,
        text: Text,
        modules: Mapping[str, str],
    ) -> None:
        self._repository = repository
        self._suite = suite
        self._service = service
        self._fixture = fixture
        self._text = text
        self._modules = modules

    # --- The service --------------------------------------------------------------------------

    def of_service(self, slow: Function | None) -> str:
        """Write the fast fixture, and what it takes to build the service."""
        if slow is None and self._fixture in self._modules:
            return self._for_a_plugin()
        if slow is None:
            return self._without_slow_fixture()
        self._note_others(slow)
        recipe = read(self._suite, slow)
        place = place_of(slow)
        if recipe.construction is None:
            self._text.remarks.append(
                f"{place}: the fixture {self._fixture} gives {recipe.gives or recipe.service}, and "
                f"how it builds a {self._service.name} is not seen: write that into the function "
                f"build_{self._fixture} in conftest.py"
            )
            recipe.kept = []
        start = self._start(recipe)
        is_plain = recipe.construction is not None and self._is_plain(recipe, start)
        builder = (
            ""
            if is_plain
            else Builder(
                self._repository, self._service, self._fixture, self._text, self._modules
            ).written(recipe, start, slow)
        )
        build = self._service.name if is_plain else f"build_{self._fixture}"
        quoted = f'"{build}"' if recipe.contexts and not is_plain else build
        return builder + self._written(quoted, recipe, start, f"from {place}")

    def _written(self, build: str, recipe: Recipe, start: str | None, whence: str) -> str:
        is_plain = build == self._service.name
        lines = [
            f"# Guessed {whence}",
            f"# and {self._service.name}: see that it is right.",
            f"fast_{self._fixture} = service_fixture(",
            f"    {build},",
            *(f"    {line}" for line in self._options(recipe, start, is_plain)),
            ")",
            f'override_fixture("{self._fixture}", fast_{self._fixture})',
        ]
        return "\n\n" + "\n".join(lines) + "\n"

    def _without_slow_fixture(self) -> str:
        users = sorted(
            f"{m.path}:{f.node.lineno}"  # type: ignore[union-attr]
            for m in self._suite.modules
            for f in m.functions
            if f.owner is not None and f.name in ("setUp", "setup_method", "asyncSetUp")
            if any(self._service.name in unparsed(c.func) for c in f.calls)
        )
        where = f" Where the tests build it now: {', '.join(users)}" if users else ""
        start = self._service.methods.get(self._usual_start() or "")
        entered = (
            "; it is entered in the loop, by `await self."
            f"{self._fixture}.__aenter__()` in asyncSetUp, and ended by `self.addAsyncCleanup("
            f"self.{self._fixture}.__aexit__, None, None, None)`"
            if isinstance(start, ast.AsyncFunctionDef)
            else ""
        )
        self._text.remarks.append(
            f"no fixture {self._fixture} was there to be replaced, so this one is new. A TestCase "
            "gets it by\n"
            "        @pytest.fixture(autouse=True)\n"
            f"        def get_{self._fixture}(self, {self._fixture}):\n"
            f"            self.{self._fixture} = {self._fixture}\n"
            f"    in place of what its setUp and tearDown do with it{entered}.{where}"
        )
        lines = [
            f"# Guessed from {self._service.name}: see that it is right.",
            f"{self._fixture} = service_fixture(",
            f"    {self._service.name},",
            *(
                f"    {line}"
                for line in self._options(
                    Recipe(self._suite.modules[0].top_level), self._usual_start(), True
                )
            ),
            ")",
        ]
        return "\n\n" + "\n".join(lines) + "\n"

    def _for_a_plugin(self) -> str:
        home = self._modules[self._fixture]
        self._text.remarks.append(
            f"the fixture {self._fixture} comes from {home}, which is none of the tests here: how "
            f"it builds a {self._service.name} was not seen, see that the lines in conftest.py do"
        )
        recipe = Recipe(self._suite.modules[0].top_level)
        return self._written(self._service.name, recipe, self._usual_start(), f"from {home}")

    def _note_others(self, slow: Function) -> None:
        """Say where another fixture of the name does something else, and gets replaced, too."""
        for other in self._suite.fixtures():
            is_another = other is not slow and other.fixture_name == self._fixture
            if is_another and body_of(other) != body_of(slow):
                self._text.remarks.append(
                    f"{place_of(other)}: another fixture {self._fixture}, which does something "
                    f"else than that at {place_of(slow)}, and is replaced too. If its tests "
                    "need it, give it another name"
                )

    def _usual_start(self) -> str | None:
        return next((n for n in self._service.methods if STARTS.fullmatch(n) and n != "run"), None)

    def _start(self, recipe: Recipe) -> str | None:
        """Return the method that is all that the fixture calls of the service, to start it."""
        if recipe.enters_service:
            return "__aenter__" if "__aenter__" in self._service.methods else "__enter__"
        calls = list(recipe.calls)
        is_last = (
            bool(recipe.kept) and unparsed(recipe.kept[-1]).endswith(f".{calls[-1]}()")
            if calls
            else False
        )
        return calls[0] if len(calls) == 1 and is_last else None

    def _is_plain(self, recipe: Recipe, start: str | None) -> bool:
        """Return whether the class alone says how it is built: each argument is a fixture."""
        rest = [s for s in recipe.kept if not is_call_of(s, recipe, start)]
        construction = recipe.construction
        assert construction is not None
        given = [*construction.args, *(k.value for k in construction.keywords)]
        are_fixtures = all(unparsed(a) in recipe.function.params for a in given)
        return len(rest) == 1 and are_fixtures and not recipe.contexts and not recipe.threads

    def _options(self, recipe: Recipe, start: str | None, is_plain: bool) -> Iterator[str]:
        service = self._service
        if start:
            yield f'start="{start}",'
        if recipe.run:
            yield f'run="{recipe.run}",'
        arguments = self._arguments(recipe) if is_plain else {}
        if arguments:
            yield f"arguments={json.dumps(arguments, ensure_ascii=False)},"
        held = service.held(besides=recipe.run)
        if held:
            names = ", ".join(f'"{name}"' for name in held)
            yield "# these wait until a test calls test_enable_background_tasks()"
            yield f"hold=({names},),"
        tasks = service.tasks()
        if tasks:
            yield "# what runs in the background, for a test to run it once"
            yield f"tasks={json.dumps(tasks, ensure_ascii=False)},"
        self._text.remarks += [
            f"{name}() runs in a thread, which is held: a test that needs it calls "
            "test_enable_background_tasks(), or a fixture that extends the fast one does"
            for name in service.without_task()
        ]
        flag = service.flag()
        if flag:
            yield f'running="{flag}",'
        ending = self._ending(recipe)
        if ending:
            yield f'cleanup="{ending}",'

    def _arguments(self, recipe: Recipe) -> dict[str, str]:
        construction = recipe.construction
        if construction is None:
            return {}
        pairs = dict(zip(self._service.parameters, map(unparsed, construction.args)))
        pairs.update({k.arg or "": unparsed(k.value) for k in construction.keywords})
        return {parameter: fixture for parameter, fixture in pairs.items() if parameter != fixture}

    def _ending(self, recipe: Recipe) -> str | None:
        ending = self._service.ending_of_context() if recipe.enters_service else None
        if ending:
            return ending
        named = [name for name in recipe.endings if name in self._service.methods]
        likely = [name for name in named if ENDS.fullmatch(name)]
        ending = next(iter([*likely, *named]), None) or self._service.ending()
        if ending is None:
            self._text.remarks.append(
                f"no method of {self._service.name} was found that ends it: name it with cleanup="
            )
        return ending
