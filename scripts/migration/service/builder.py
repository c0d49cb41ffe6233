"""The function, or the fixture, that builds a service as its slow fixture does."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Mapping, Sequence
from textwrap import indent

from ..findings.parsing import Function, Module, names_in
from ..repository import Repository
from .brokers import OURS
from .classes import ServiceClass
from .recipe import Recipe
from .source_text import Text, import_line, is_defined_in, place_of, source_of


class Builder:
    """Writes it."""

    def __init__(
        self,
        repository: Repository,
        service: ServiceClass,
        fixture: str,
        text: Text,
        modules: Mapping[str, str],
    ) -> None:
        self._repository = repository
        self._service = service
        self._fixture = fixture
        self._text = text
        self._modules = modules

    def written(self, recipe: Recipe, start: str | None, slow: Function) -> str:
        """Write it, for what a recipe keeps."""
        kept = [s for s in recipe.kept if not is_call_of(s, recipe, start)]
        self._leave_out_what_holds_the_service(recipe, slow)
        needing = (*kept, *recipe.contexts)
        loaded = {name for node in needing for name in names_in(node, ast.Load)}
        parameters = [p for p in slow.params if p in loaded and p not in ("self", "cls")]
        if slow.owner is not None and "self" in loaded:
            self._text.remarks.append(
                f"{place_of(slow)}: the fixture uses self, which build_{self._fixture} in "
                "conftest.py has not"
            )
        if OURS in loaded:
            parameters.append(OURS)
        body = [
            *self._local_imports(slow.module, loaded - set(slow.params), kept),
            *(source_of(slow.module, s) for s in kept),
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
                f"the fixture runs {line}() in a thread, which is held: a test lets it run with "
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

    def _leave_out_what_holds_the_service(self, recipe: Recipe, slow: Function) -> None:
        """Leave out a `with` around what is built here, which cannot be around its building."""
        built = {name for statement in recipe.kept for name in names_in(statement, ast.Store)}
        for context in tuple(recipe.contexts):
            [entered] = [item.context_expr for item in context.items]
            if built & names_in(entered, ast.Load):
                recipe.contexts.remove(context)
                self._text.remarks.append(
                    f"{place_of(slow)}: the fixture enters {ast.unparse(entered)}, which is left "
                    "out: write a class with methods that enter and leave it, as docs/asyncio.md "
                    "has for a web application, and name that by --service"
                )

    def _local_imports(
        self, module: Module, loaded: set[str], kept: Sequence[ast.stmt]
    ) -> Iterator[str]:
        """Yield the imports of what the slow fixture's module defines; others go to the top."""
        if module.path == self._repository.conftest:
            return
        bound = {name for statement in kept for name in names_in(statement, ast.Store)}
        own = []
        for name in sorted(loaded - bound - set(dir(builtins)) - {self._service.name, OURS}):
            line = import_line(module, name, self._repository.tests)
            if line:
                self._text.imports.append(line)
            elif is_defined_in(module, name):
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


def is_call_of(statement: ast.stmt, recipe: Recipe, start: str | None) -> bool:
    """Return whether a statement does nothing but start the service."""
    ends = f"{recipe.service}.{start}()"
    return bool(start) and ast.unparse(statement) in (ends, f"await {ends}")
