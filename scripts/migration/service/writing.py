"""The lines of conftest.py that give a service a fast fixture, with what was guessed said."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import indent

from ..conftest_text import conftest_of, names_bound_in
from ..findings.parsing import Function, Module, unparsed
from ..findings.suite import Suite
from ..repository import CannotMigrateError, Repository
from ..wiring import FUTURES, SERVICE_MODULES, SERVICE_SOURCE, WIDTH, Import, Option
from .brokers import OURS, OwnBroker, own_brokers
from .classes import STARTS, ServiceClass, service_class
from .recipe import Recipe, names_loaded, read

_UNPREFIXED = ("request", "self", "cls")


@dataclass
class _Text:
    """What is written, and what it needs."""

    imports: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


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
        raise CannotMigrateError(f"--service takes package.module:Class, not {service}")
    suite = Suite(repository.root, repository.tests)
    described = service_class(suite, f"{place}.{name}")
    if described.node is None:
        raise CannotMigrateError(f"{service} was not found: there is no {name} in a {place} here")
    text = _Text([f"from {place} import {name}"])
    slow = _slow_fixture(suite, fixture)
    writer = _Writer(repository, suite, described, fixture, text, modules)
    brokers = [b for b in own_brokers(suite) if not suite.is_overridden(b.name)]
    definitions = writer.of_brokers(brokers) + writer.of_service(slow)
    names = ("override_fixture", "service_fixture") if slow else ("service_fixture",)
    if not slow and brokers:
        names = ("override_fixture", "service_fixture")
    return Option(
        modules=SERVICE_MODULES,
        imports=(FUTURES, Import("optimized_service_fixture", names, is_used=True)),
        fixture=fixture,
        source=SERVICE_SOURCE,
        serves=f"tests that use a fixture {fixture}",
        needs_fixture=slow is not None,
        definitions=definitions,
        more_imports=tuple(dict.fromkeys(text.imports)),
        remarks=tuple(text.remarks),
        brokers=tuple(broker.name for broker in brokers),
    )


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
        text: _Text,
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
        if slow is None:
            return self._without_slow_fixture()
        recipe = read(self._suite, slow)
        place = f"{slow.module.path}:{slow.node.lineno}"  # type: ignore[union-attr]
        if recipe.construction is None:
            self._text.remarks.append(
                f"{place}: the fixture {self._fixture} gives {recipe.gives or recipe.service}, and "
                f"how it builds a {self._service.name} is not seen: write that into the function "
                f"build_{self._fixture} in conftest.py"
            )
            recipe.kept = []
        start = self._start(recipe)
        is_plain = recipe.construction is not None and self._is_plain(recipe, start)
        builder = "" if is_plain else self._builder(recipe, start, slow)
        build = self._service.name if is_plain else f"build_{self._fixture}"
        quoted = f'"{build}"' if recipe.contexts and not is_plain else build
        lines = [
            f"# Guessed from {place}",
            f"# and {self._service.name}: see that it is right.",
            f"fast_{self._fixture} = service_fixture(",
            f"    {quoted},",
            *(f"    {line}" for line in self._options(recipe, start, is_plain)),
            ")",
            f'override_fixture("{self._fixture}", fast_{self._fixture})',
        ]
        return builder + "\n\n" + "\n".join(lines) + "\n"

    def _without_slow_fixture(self) -> str:
        users = sorted(
            f"{m.path}:{f.node.lineno}"  # type: ignore[union-attr]
            for m in self._suite.modules
            for f in m.functions
            if f.owner is not None and f.name in ("setUp", "setup_method", "asyncSetUp")
            if any(self._service.name in unparsed(c.func) for c in f.calls)
        )
        where = f" Where the tests build it now: {', '.join(users)}" if users else ""
        self._text.remarks.append(
            f"no fixture {self._fixture} was there to be replaced, so this one is new. A TestCase "
            "gets it by\n"
            "        @pytest.fixture(autouse=True)\n"
            f"        def get_{self._fixture}(self, {self._fixture}):\n"
            f"            self.{self._fixture} = {self._fixture}\n"
            f"    in place of what its setUp and tearDown do with it.{where}"
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
        rest = [s for s in recipe.kept if not self._is_call_of(s, recipe, start)]
        construction = recipe.construction
        assert construction is not None
        given = [*construction.args, *(k.value for k in construction.keywords)]
        are_fixtures = all(unparsed(a) in recipe.function.params for a in given)
        return len(rest) == 1 and are_fixtures and not recipe.contexts and not recipe.threads

    @staticmethod
    def _is_call_of(statement: ast.stmt, recipe: Recipe, start: str | None) -> bool:
        ends = f"{recipe.service}.{start}()"
        return bool(start) and unparsed(statement) in (ends, f"await {ends}")

    def _options(self, recipe: Recipe, start: str | None, is_plain: bool) -> Iterator[str]:
        service = self._service
        if start:
            yield f'start="{start}",'
        if recipe.run:
            yield f'run="{recipe.run}",'
        arguments = self._arguments(recipe) if is_plain else {}
        if arguments:
            yield from _fitting(f"arguments={_dict(arguments)},", _pairs(arguments))
        held = service.held(besides=recipe.run)
        if held:
            names = ", ".join(f'"{name}"' for name in held)
            yield "# these wait until a test calls test_enable_background_tasks()"
            yield from _fitting(f"hold=({names},),", (f'"{name}"' for name in held))
        tasks = service.tasks()
        if tasks:
            yield "# what runs in the background, for a test to run it once"
            yield from _fitting(f"tasks={_dict(tasks)},", _pairs(tasks))
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
        from .classes import ENDS

        if recipe.enters_service:
            return self._service.ending_of_context()
        named = [name for name in recipe.endings if name in self._service.methods]
        likely = [name for name in named if ENDS.fullmatch(name)]
        ending = next(iter([*likely, *named]), None) or self._service.ending()
        if ending is None:
            self._text.remarks.append(
                f"no method of {self._service.name} was found that ends it: name it with cleanup="
            )
        return ending

    # --- What it takes to build it --------------------------------------------------------------

    def _builder(self, recipe: Recipe, start: str | None, slow: Function) -> str:
        kept = [s for s in recipe.kept if not self._is_call_of(s, recipe, start)]
        loaded = {name for node in (*kept, *recipe.contexts) for name in names_loaded(node)}
        parameters = [p for p in slow.params if p in loaded and p not in ("self", "cls")]
        if OURS in loaded:
            parameters.append(OURS)
        body = [
            *self._local_imports(slow.module, loaded, kept),
            *(_source(slow.module, s) for s in kept),
        ]
        body.append(
            f"return {recipe.service}" if recipe.construction else "raise NotImplementedError"
        )
        head = "async def" if recipe.is_async else "def"
        name = f"build_{self._fixture}"
        doc = '"""Build the service as the slow fixture does."""'
        returns = (
            f" -> {self._service.name}" if isinstance(self._service.node, ast.ClassDef) else ""
        )
        for line in recipe.threads:
            self._text.remarks.append(
                f"the fixture runs {line}() in a thread, which is held: a test has it run with "
                "test_enable_background_tasks()"
            )
        if not recipe.contexts:
            text = f"{head} {name}({', '.join(parameters)}){returns}:\n    {doc}\n"
            return "\n\n" + text + indent("\n".join(body), "    ") + "\n"
        inner = f"{head} build(){returns}:\n" + indent("\n".join(body), "    ") + "\n\nyield build"
        for context in reversed(recipe.contexts):
            with_line = ast.unparse(context).partition("\n")[0]
            inner = f"{with_line}\n{indent(inner, '    ')}"
        kind = "async def" if any(isinstance(c, ast.AsyncWith) for c in recipe.contexts) else "def"
        return (
            f"\n\n@pytest.fixture\n{kind} {name}({', '.join(parameters)}):\n    {doc}\n"
            + indent(inner, "    ")
            + "\n"
        )

    def _local_imports(
        self, module: Module, loaded: set[str], kept: Sequence[ast.stmt]
    ) -> Iterator[str]:
        """Yield the imports of what the slow fixture's module defines; others go to the top."""
        if module.path == self._repository.conftest:
            return
        bound = {
            n.id
            for s in kept
            for n in ast.walk(s)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        own = []
        for name in sorted(loaded - bound - set(dir(builtins)) - {self._service.name, OURS}):
            line = _import_line(module, name)
            if line:
                self._text.imports.append(line)
            elif _is_defined_in(module, name):
                own.append(name)
        if not own:
            return
        home = self._modules.get(self._fixture, "")
        if not home or home.rpartition(".")[2] == "conftest":
            self._text.remarks.append(
                f"{module.path} defines {', '.join(own)}, which the service needs: import it in "
                f"{self._repository.conftest}"
            )
            return
        yield f"from {home} import {', '.join(own)}"

    # --- The brokers ----------------------------------------------------------------------------

    def of_brokers(self, brokers: Sequence[OwnBroker]) -> str:
        """Write fixtures that give of our broker what the suite's own fixtures give of theirs."""
        fixed = sorted({broker.port for broker in brokers if broker.port is not None})
        tree = conftest_of(self._repository)
        ports = ""
        if fixed not in ([], [1883]) and "redirected_mqtt_ports" not in names_bound_in(tree):
            ports = _PORTS.format(", ".join(map(str, fixed)))
        return ports + "".join(self._of_broker(broker) for broker in brokers)

    def _of_broker(self, broker: OwnBroker) -> str:
        self._text.remarks += broker.remarks
        scope = broker.function.fixture_scope
        options = [f'scope="{scope}"'] if scope != "function" else []
        options += ["autouse=True"] if _is_autouse(broker.function) else []
        for needed in sorted(broker.names):
            line = _import_line(broker.function.module, needed)
            if line and broker.function.module.path != self._repository.conftest:
                self._text.imports.append(line)
        is_fixed = not broker.gives or broker.port is not None
        asked_for = [OURS] if broker.gives else []
        asked_for += ["redirected_mqtt_clients"] if is_fixed else []
        return _BROKER.format(
            place=broker.place,
            options=f"({', '.join(options)})" if options else "",
            name=broker.name,
            asked_for=", ".join(asked_for),
            body=f"return {_renamed(broker.gives)}" if broker.gives else '"""Nothing."""',
        )


_PORTS = '''

@pytest.fixture(scope="session")
def redirected_mqtt_ports():
    """Return the ports that lead to the session's broker: they are fixed."""
    return ({},)
'''

_BROKER = """

# In place of {place}
# so that services and listeners meet on one broker.
@pytest.fixture{options}
def fast_{name}({asked_for}):
    {body}


override_fixture("{name}", fast_{name})
"""


def _source(module: Module, statement: ast.stmt) -> str:
    """Return a statement as it is written, or plainly where it was made up here."""
    written = ast.get_source_segment("\n".join(module.lines), statement) or ""
    lines = written.split("\n")
    text = "\n".join([lines[0], *(line[statement.col_offset :] for line in lines[1:])])
    try:
        is_same = ast.unparse(ast.parse(text)) == ast.unparse(statement)
    except SyntaxError:
        is_same = False
    return text if is_same else ast.unparse(statement)


def _renamed(expression: str) -> str:
    tree = ast.parse(expression, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "broker":
            node.id = OURS
    text = ast.unparse(tree)
    return text if '"' in text else text.replace("'", '"')


def _is_autouse(function: Function) -> bool:
    return any("autouse=True" in unparsed(decorator) for decorator in function.decorators)


def _import_line(module: Module, name: str) -> str | None:
    """Return the import by which a module has a name, where it is an absolute one."""
    for node in module.tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if (alias.asname or alias.name.partition(".")[0]) == name:
                    return f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    renamed = f" as {alias.asname}" if alias.asname else ""
                    return f"from {node.module} import {alias.name}{renamed}"
    return None


def _is_defined_in(module: Module, name: str) -> bool:
    for node in module.tree.body:
        if getattr(node, "name", None) == name:
            return True
        stored = (n for n in ast.walk(node) if isinstance(n, ast.Name))
        if any(n.id == name and isinstance(n.ctx, ast.Store) for n in stored):
            return True
    return False


def _pairs(pairs: Mapping[str, str]) -> Iterator[str]:
    return (f'"{key}": "{value}"' for key, value in pairs.items())


def _dict(pairs: Mapping[str, str]) -> str:
    return "{" + ", ".join(_pairs(pairs)) + "}"


def _fitting(line: str, parts: Iterable[str]) -> Iterator[str]:
    """Yield an argument that is a dict or a tuple, on several lines if it is too long for one."""
    if len(line) + 4 <= WIDTH:
        yield line
        return
    head, bracket = line.partition("=")[0], "{}" if "={" in line else "()"
    yield f"{head}={bracket[0]}"
    yield from (f"    {part}," for part in parts)
    yield f"{bracket[1]},"
