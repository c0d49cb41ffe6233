"""What a wait in a test becomes, where nothing but the background can be waited for."""

from __future__ import annotations

import ast
import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from .finding import Rewrite
from .parsing import LOOPS, bindings, called_name, calls_in, unparsed, walk_own
from .pauses import EXPLICIT, looks_at_a_moment
from .sleeps import Wait, looks_after, nodes_after, seconds_of
from .suite import Suite

if TYPE_CHECKING:
    from typing_extensions import TypeGuard

_MONITOR = "mqtt_monitor"
_PATIENCE = 5.0
"""Seconds that `mqtt_monitor.wait_for` waits unless it is told otherwise."""

_HEALTH = re.compile(r"health|online|offline|status")
_DISCOVERY = re.compile(r"camera|discover|device|found|inventory")
_TRIGGER = re.compile(
    r"_?(publish|send|start|submit|put|notify|trigger|emit|command|single|multiple|connect|handle"
    r"|reconnect|disconnect|on_|dispatch|inject|simulate|fire|run|discover|scan|check|refresh"
    r"|update|poll)(?!s_|ed)\w*"
)
_READER = re.compile(r"_?(get|is|has|find|list|count)(_\w+)?")
_PURE = {
    "len",
    "list",
    "set",
    "sorted",
    "dict",
    "tuple",
    "any",
    "all",
    "next",
    "range",
    "str",
    "int",
}
_PURE_METHODS = {"keys", "values", "items", "get", "json", "decode", "startswith", "endswith"}
_PATCHES = {"setattr", "object", "setitem", "delattr"}


class _NotCertainError(Exception):
    """The wait is for something that its replacement might not bring about."""


class Rewriter:
    """Decides what a wait in a test becomes.

    It is certain only if nothing but the background can have been waited for: the test has neither
    sent a message nor called the service before, and looks at the result at once.
    """

    def __init__(self, suite: Suite, wait: Wait, ran: Sequence[str]) -> None:
        self._suite = suite
        self._wait = wait
        self._function = function = wait.function
        self._module = function.module
        self._ran = ran
        self._detectors = [p for p in function.params if suite.is_camera_detector(function, p)]
        self._keeps_slow_fixture = any(suite.stays_slow(function, p) for p in self._detectors)
        self._is_async = isinstance(function.node, ast.AsyncFunctionDef)
        self._has_monitor = suite.is_our_fixture(function, _MONITOR)
        self._earlier = [
            node
            for node in (*(function.outer.own_nodes if function.outer else ()), *function.own_nodes)
            if getattr(node, "lineno", wait.statement.lineno) < wait.statement.lineno
        ]

    def rewrite(self) -> Rewrite | None:
        """Return what the wait becomes; None if that is not certain."""
        try:
            self._check_wait()
            statements = (*self._service_calls(), *self._monitor_waits())
        except _NotCertainError:
            return None
        return Rewrite(self._wait.statement.lineno, statements) if statements else None

    # The wait itself

    def _check_wait(self) -> None:
        statement = self._wait.statement
        if self._wait.helper or not self._module.is_rewritable:
            raise _NotCertainError
        if self._is_async and self._module.resolve(self._wait.sleep.func) != "asyncio.sleep":
            raise _NotCertainError  # it blocks the loop, or the loop may be one of another library
        if looks_at_a_moment(self._looks):
            raise _NotCertainError  # the clock has to go on, too
        if not self._module.stands_alone(statement) or self._keeps_slow_fixture:
            raise _NotCertainError
        if not self._mentions(self._looks, *self._detectors, _MONITOR):
            raise _NotCertainError
        if isinstance(statement, LOOPS):
            self._check_loop(statement)
        elif not isinstance(statement, ast.Expr) or self._does_more_than_sleep(statement):
            raise _NotCertainError

    def _does_more_than_sleep(self, statement: ast.Expr) -> bool:
        """Say whether there are other calls, or an event with a name that would be left over."""
        sleep = self._wait.sleep
        event = sleep.func.value if isinstance(sleep.func, ast.Attribute) else None
        if called_name(sleep) == "wait" and not isinstance(event, ast.Call):
            return True
        return any(call not in (sleep, event) for call in calls_in(statement))

    def _check_loop(self, loop: ast.While | ast.For | ast.AsyncFor) -> None:
        """Raise unless the loop does nothing but look at the service and sleep."""
        target = unparsed(loop.target) if not isinstance(loop, ast.While) else ""
        names = {n.id for n in walk_own(loop) if isinstance(n, ast.Name)}
        sleep_root = unparsed(self._wait.sleep.func).partition(".")[0]
        known = {*self._detectors, _MONITOR, sleep_root, target, *_PURE}
        later = nodes_after(self._function, loop)
        used_later = any(
            unparsed(n) == target and isinstance(n.ctx, ast.Load)
            for n in later
            if isinstance(n, ast.Name)
        )
        is_plain = all(map(self._is_part_of_polling, loop.body)) and not loop.orelse
        if not is_plain or used_later or any(n not in known and not n.isupper() for n in names):
            raise _NotCertainError
        if not names & {*self._detectors, _MONITOR} or any(map(self._is_trigger, calls_in(loop))):
            raise _NotCertainError

    def _is_part_of_polling(self, statement: ast.stmt) -> bool:
        if isinstance(statement, ast.If):
            return not statement.orelse and isinstance(statement.body[0], ast.Break)
        value = statement.value if isinstance(statement, ast.Expr) else None
        return (value.value if isinstance(value, ast.Await) else value) is self._wait.sleep

    # What the test looks at, and what it did before

    @functools.cached_property
    def _readings(self) -> list[ast.Assign]:
        """The assignments between the wait and the assertions, which only read."""
        rest = self._wait.block[self._wait.index + 1 :]
        plain = itertools.takewhile(lambda s: isinstance(s, ast.Assign) and _is_pure(s), rest)
        return [statement for statement in plain if isinstance(statement, ast.Assign)]

    @functools.cached_property
    def _asserts(self) -> list[ast.Assert]:
        rest = self._wait.block[self._wait.index + 1 + len(self._readings) :]
        asserts = itertools.takewhile(lambda statement: isinstance(statement, ast.Assert), rest)
        return [statement for statement in asserts if isinstance(statement, ast.Assert)]

    @functools.cached_property
    def _looks(self) -> list[ast.AST]:
        if not self._asserts:
            return []
        loop = [self._wait.statement] if isinstance(self._wait.statement, LOOPS) else []
        return [*loop, *self._readings, *self._asserts]

    def _mentions(self, nodes: Iterable[ast.AST], *names: str) -> bool:
        inner = (n for node in nodes for n in ast.walk(node))
        return any(isinstance(n, ast.Name) and n.id in names for n in inner)

    def _was_triggered(self) -> bool:
        """Say whether the test has made the service do something already."""
        asserted = {id(n) for a in self._earlier if isinstance(a, ast.Assert) for n in ast.walk(a)}
        for node in self._earlier:
            if isinstance(node, ast.Call) and id(node) not in asserted and self._is_trigger(node):
                return True
            # By another name, it can do anything without our noticing.
            if any(unparsed(value) in self._detectors for _, value in bindings(node)):
                return True
        return False

    def _is_trigger(self, call: ast.Call) -> bool:
        name = called_name(call)
        if EXPLICIT.fullmatch(name) or _READER.fullmatch(name):
            return False
        if _TRIGGER.fullmatch(name):
            return True
        if isinstance(call.func, ast.Attribute) and unparsed(call.func.value) in self._detectors:
            return True
        if name in _PURE | _PATCHES:
            return False
        return self._mentions([*call.args, *call.keywords], *self._detectors)

    # The service

    def _service_calls(self) -> list[str]:
        """Return the calls that do what the background did."""
        looks_at_service = self._mentions(self._looks, *self._detectors)
        if not self._detectors or (not looks_at_service and self._was_triggered()):
            return []
        if self._is_async:
            raise _NotCertainError  # its task may be one to await
        rebound = {unparsed(target) for node in self._earlier for target, _ in bindings(node)}
        acts = any(
            self._is_trigger(call) for look in self._looks for call in calls_in(look, sleeps=False)
        )
        is_clear = len(self._detectors) == 1 and not rebound & set(self._detectors) and not acts
        if not is_clear or self._was_triggered():
            raise _NotCertainError
        return [f"{self._detectors[0]}.{task}()" for task in self._tasks()]

    def _tasks(self) -> list[str]:
        words = [re.sub(r"camera_?detector", "", word) for word in self._words()]
        about_health = any(map(_HEALTH.search, [*words, self._function.name]))
        about_cameras = any(map(_DISCOVERY.search, words))
        discovered = any("test_run_discovery_once" in run for run in self._ran) or any(
            isinstance(n, ast.Attribute) and n.attr == "test_run_discovery_once"
            for n in self._earlier
        )
        if about_health:
            # The background would have discovered the cameras whose health is looked at.
            first = ["test_run_discovery_once"] if about_cameras and not discovered else []
            return [*first, "test_run_health_check_once"]
        if about_cameras:
            return ["test_run_discovery_once"]
        raise _NotCertainError

    def _words(self) -> Iterator[str]:
        """Yield the names and texts in what the test looks at."""
        later = looks_after(self._function, self._wait.statement)
        for node in (n for look in [*self._looks, *later] for n in ast.walk(look)):
            if isinstance(node, ast.Attribute):
                yield node.attr.lower()
            elif isinstance(node, ast.Name) and node.id not in (*self._detectors, _MONITOR):
                yield node.id.lower()
                yield (self._module.string(node) or "").lower()
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value.lower()

    # The monitor

    def _monitor_waits(self) -> list[str]:
        """Return the calls that wait for the messages which the test reads."""
        if not self._mentions(self._looks, _MONITOR):
            return []
        seen = [n for n in self._earlier if isinstance(n, ast.Attribute) and _is_monitor(n.value)]
        if not self._has_monitor or (seen and seen[-1].attr != "clear"):
            raise _NotCertainError  # what it has from before, it would find again
        if self._looks_at_what_a_message_changes():
            raise _NotCertainError  # the message is there before anybody has dealt with it
        waits = [wait for reading in self._readings for wait in self._waits_of_unpacking(reading)]
        for look in self._asserts:
            if self._mentions([look], _MONITOR, *self._aliases):
                waits += self._expected(look.test)
        if not waits:
            raise _NotCertainError
        return [f"{'await ' * self._is_async}{wait}" for wait in dict.fromkeys(waits)]

    def _looks_at_what_a_message_changes(self) -> bool:
        """Say whether the test has sent something, and looks at more than at the messages."""
        if not any(isinstance(n, ast.Call) and self._is_trigger(n) for n in self._earlier):
            return False
        later = looks_after(self._function, self._wait.statement)
        return any(self._live_names(look) - self._names_of_messages() for look in later)

    def _names_of_messages(self) -> set[str]:
        """Return the names that have all that they are from the monitor."""
        pairs = [pair for node in self._function.own_nodes for pair in bindings(node)]
        names, before = {_MONITOR}, 0
        while len(names) > before:
            before = len(names)
            for target, value in pairs:
                bound = {unparsed(n) for n in ast.walk(target) if isinstance(n, ast.Name)}
                if self._live_names(value) <= names:
                    names |= bound
        return names

    def _live_names(self, node: ast.AST) -> set[str]:
        is_live = functools.partial(self._suite.is_live_node, self._function)
        return {unparsed(n) for n in ast.walk(node) if is_live(n) and not isinstance(n, ast.Call)}

    @functools.cached_property
    def _aliases(self) -> dict[str, ast.expr]:
        """The names given to what is read from the monitor."""
        return {
            unparsed(target): reading.value
            for reading in self._readings
            for target in reading.targets
            if isinstance(target, ast.Name) and self._mentions([reading], _MONITOR)
        }

    def _waits_of_unpacking(self, reading: ast.Assign) -> list[str]:
        """Read `[message] = ...`: there have to be as many messages as names."""
        [target, *others] = reading.targets
        if others or not isinstance(target, (ast.List, ast.Tuple)):
            return []
        if not self._mentions([reading], _MONITOR, *self._aliases):
            return []
        return self._expected(reading.value, len(target.elts))

    def _expected(self, node: ast.expr, count: int = 1) -> list[str]:
        """Return the waits after which *node*, an expression on the messages, can be true."""
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            about = [v for v in node.values if self._mentions([v], _MONITOR, *self._aliases)]
            return [wait for value in about for wait in self._expected(value, count)]
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return self._expected_of_comparison(node.left, node.ops[0], node.comparators[0])
        if isinstance(node, ast.Name) and node.id in self._aliases:
            return self._expected(self._aliases[node.id], count)
        if isinstance(node, ast.Attribute) and node.attr == "messages" and _is_monitor(node.value):
            return [self._wait_for('"#"', count)]
        if isinstance(node, ast.Subscript):
            index = node.slice.value if isinstance(node.slice, ast.Constant) else None
            if isinstance(index, int):
                return self._expected(node.value, index + 1)
        elif isinstance(node, (ast.Attribute, ast.Call)):
            return self._expected_of_part(node, count)
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
            return self._expected_of_filter(node, node.generators[0].ifs, count)
        raise _NotCertainError

    def _expected_of_part(self, node: ast.Attribute | ast.Call, count: int) -> list[str]:
        if isinstance(node, ast.Attribute):
            return self._expected(node.value, count)
        name = called_name(node)
        if name == "any" and isinstance(node.args[0], (ast.ListComp, ast.GeneratorExp)):
            filtered = node.args[0]
            return self._expected_of_filter(
                filtered, [*filtered.generators[0].ifs, filtered.elt], count
            )
        if name in ("list", "next") and node.args:
            return self._expected(node.args[0], count)
        if name in _PURE_METHODS and isinstance(node.func, ast.Attribute):
            return self._expected(node.func.value, count)
        raise _NotCertainError

    def _expected_of_comparison(
        self, left: ast.expr, operator: ast.cmpop, right: ast.expr
    ) -> list[str]:
        if isinstance(operator, ast.In) and isinstance(right, (ast.ListComp, ast.SetComp)):
            [generator, *_] = right.generators
            if unparsed(right.elt) == f"{unparsed(generator.target)}.topic" and not generator.ifs:
                self._check_source(right, generator, [])
                return [self._wait_for(self._source(left), 1)]
        if self._mentions([right], _MONITOR, *self._aliases):
            raise _NotCertainError
        if not (isinstance(left, ast.Call) and called_name(left) == "len"):
            if isinstance(operator, ast.Eq) and isinstance(left, (ast.Attribute, ast.Call)):
                return self._expected(left)
            raise _NotCertainError
        number = right.value if isinstance(right, ast.Constant) else None
        one_more = isinstance(operator, ast.Gt)
        if not isinstance(operator, (ast.Eq, ast.GtE, ast.Gt)) or not isinstance(number, int):
            raise _NotCertainError
        if number + one_more < 1:
            raise _NotCertainError
        return self._expected(left.args[0], number + one_more)

    def _expected_of_filter(
        self,
        node: ast.ListComp | ast.SetComp | ast.GeneratorExp,
        conditions: list[ast.expr],
        count: int,
    ) -> list[str]:
        [generator, *others] = node.generators
        if others:
            raise _NotCertainError
        self._check_source(node, generator, conditions)
        message = unparsed(generator.target)
        parts = [
            part
            for condition in conditions
            for part in (condition.values if _is_and(condition) else [condition])
        ]
        topics = [topic for part in parts for topic in _compared_topic(part, message)]
        if len(topics) > 1:
            raise _NotCertainError
        rest = [self._source(part) for part in parts if not _compared_topic(part, message)]
        topic = self._source(topics[0]) if topics else '"#"'
        return [
            self._wait_for(topic, count, f"lambda {message}: {' and '.join(rest)}" if rest else "")
        ]

    def _check_source(
        self,
        node: ast.ListComp | ast.SetComp | ast.GeneratorExp,
        generator: ast.comprehension,
        conditions: list[ast.expr],
    ) -> None:
        """Raise unless it is the monitor's messages that are filtered, by what is known already."""
        source = self._aliases.get(unparsed(generator.iter), generator.iter)
        new = {unparsed(target) for reading in self._readings for target in reading.targets}
        is_plain = unparsed(source) == f"{_MONITOR}.messages" and isinstance(
            generator.target, ast.Name
        )
        if not is_plain or generator.is_async or self._mentions([node.elt, *conditions], *new):
            raise _NotCertainError

    def _source(self, node: ast.expr) -> str:
        source = self._module.source(node)
        if source is None:
            raise _NotCertainError
        return source

    def _wait_for(self, topic: str, count: int, where: str = "") -> str:
        arguments = [topic]
        if count > 1:
            arguments.append(f"count={count}")
        slept = getattr(seconds_of(self._wait.sleep), "value", None)
        if isinstance(slept, (int, float)) and slept > _PATIENCE:
            arguments.append(f"timeout={slept}")
        if where:
            arguments.append(f"where={where}")
        return f"{_MONITOR}.wait_for({', '.join(arguments)})"


def _is_pure(statement: ast.stmt) -> bool:
    return all(called_name(call) in _PURE | _PURE_METHODS for call in calls_in(statement))


def _is_monitor(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == _MONITOR


def _is_and(node: ast.expr) -> TypeGuard[ast.BoolOp]:
    return isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And)


def _compared_topic(node: ast.expr, message: str) -> list[ast.expr]:
    """Return what the topic of *message* has to be, where *node* says just that."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq):
        left, right = node.left, node.comparators[0]
        for topic, other in ((left, right), (right, left)):
            if unparsed(topic) == f"{message}.topic":
                return [other]
    return []
