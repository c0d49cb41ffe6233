"""The lines of conftest.py by which services and listeners meet on one broker."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence

from ..findings.parsing import Function, unparsed
from ..repository import Repository
from .brokers import OURS, OwnBroker
from .source_text import Text, import_line

_BROKER = """

# In place of {place}
# so that services and listeners meet on one broker.
@pytest.fixture{options}
def fast_{name}({asked_for}):
    {body}


override_fixture("{name}", fast_{name})
"""


class BrokerLines:
    """Writes them."""

    def __init__(self, repository: Repository, text: Text) -> None:
        self._repository = repository
        self._text = text

    def of_brokers(self, brokers: Sequence[OwnBroker]) -> str:
        """Write fixtures that give of our broker what the suite's own fixtures give of theirs."""
        return "".join(self._of_broker(broker) for broker in brokers)

    def _of_broker(self, broker: OwnBroker) -> str:
        self._text.remarks += broker.remarks
        scope = broker.function.fixture_scope
        options = [f'scope="{scope}"'] if scope != "function" else []
        options += ["autouse=True"] if _is_autouse(broker.function) else []
        for needed in sorted(broker.names):
            module = broker.function.module
            if module.path == self._repository.conftest or needed in dir(builtins):
                continue
            line = import_line(module, needed, self._repository.tests)
            if line:
                self._text.imports.append(line)
            else:
                self._text.remarks.append(
                    f"{broker.place}: the fixture {broker.name} gives a {needed}, which is defined "
                    f"there: import it in {self._repository.conftest}"
                )
        return _BROKER.format(
            place=broker.place,
            options=f"({', '.join(options)})" if options else "",
            name=broker.name,
            asked_for=OURS if broker.gives else "",
            body=f"return {_renamed(broker.gives)}" if broker.gives else '"""Nothing."""',
        )


def _renamed(expression: str) -> str:
    tree = ast.parse(expression, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "broker":
            node.id = OURS
    text = ast.unparse(tree)
    return text if '"' in text else text.replace("'", '"')


def _is_autouse(function: Function) -> bool:
    return any("autouse=True" in unparsed(decorator) for decorator in function.decorators)
