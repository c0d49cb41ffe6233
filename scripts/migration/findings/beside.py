"""Which functions run beside the tests: simulated devices, mocks, callbacks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .definitions import Definitions
from .parsing import FUNCTIONS, Function, Module, begins_beside, unparsed

_THREAD_CLASS = re.compile(r"(.*\.)?\w*(Thread|Process|Timer|Handler)")
_METHODS_OF_THREADS = re.compile(r"run|handle|do_[A-Z]+")


def functions_beside(definitions: Definitions) -> set[Function]:
    """Return the functions of the test files that the tests do not call, but hand over.

    As the target of a thread, as what a mock does, as a callback, in place of something else.
    """
    called: set[Function] = set()
    for module in definitions.modules:
        for function in module.functions:
            begun = {id(n) for c in function.calls if begins_beside(c) for n in ast.walk(c)}
            for call in function.calls:
                if id(call) not in begun:
                    called.update(definitions.called(function, call))
    given = {function for module in definitions.modules for function in _given(definitions, module)}
    return given - {function for function in called if not function.owner}


def _given(definitions: Definitions, module: Module) -> Iterator[Function]:
    """Yield the functions that *module* names without calling them there and then."""
    for function in module.functions:
        if _runs_in_a_thread_of_its_own(function):
            yield function
    for node, parent in _values(module.tree, None, frozenset()):
        is_called = isinstance(parent, ast.Call) and parent.func is node
        if isinstance(node, ast.Call) and parent and begins_beside(parent):
            node = node.func
        elif is_called or not isinstance(getattr(node, "ctx", None), ast.Load):
            continue
        if isinstance(node, ast.Name):
            found = definitions.defined(module, module.resolve(node))
            if found and isinstance(found[1], Function) and not found[1].fixture_scope:
                yield found[1]
        elif isinstance(node, ast.Attribute) and unparsed(node.value) in ("self", "cls"):
            yield from (f for f in module.functions if f.owner and f.name == node.attr)


def _runs_in_a_thread_of_its_own(function: Function) -> bool:
    bases = function.owner.bases if function.owner else []
    is_thread = any(_THREAD_CLASS.fullmatch(unparsed(base)) for base in bases)
    return is_thread and bool(_METHODS_OF_THREADS.fullmatch(function.name))


def _values(
    node: ast.AST, parent: ast.AST | None, local: frozenset[str]
) -> Iterator[tuple[ast.AST, ast.AST | None]]:
    """Yield what is in a file and is no decorator or local name, each with what it is a part of."""
    if isinstance(node, ast.Name) and node.id in local:
        return
    yield node, parent
    if isinstance(node, (*FUNCTIONS, ast.Lambda)):
        local |= {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
    for child in ast.iter_child_nodes(node):
        if child not in getattr(node, "decorator_list", ()):
            yield from _values(child, node, local)
