"""No loop without a bound and no wait without a deadline in what users copy."""

import ast

import pytest
from helpers.house import COPIED, each, name_of, tree_of

WAITS = {"acquire", "communicate", "get", "join", "recv", "result", "wait", "wait_for_publish"}

# By file and function; each says what bounds it.
BOUNDED = {
    ("concurrent_futures_fix.py", "_join_non_daemons"): "Python's own wait for threads at its exit",
    ("clients/monitor.py", "wait_for"): "ends with the search, whose waits have a deadline",
    ("clients/monitor.py", "_await"): "the same",
    ("clients/monitor.py", "_search"): "what it yields has a deadline, and it ends with that",
    ("wire/packets.py", "take_packets"): "each round takes bytes from a buffer",
    ("services/tasks.py", "set_meanwhile"): "get() reads the service's flag",
}


def unbounded(path):
    """Give the functions of a file that may never end, and the lines."""
    for function in ast.walk(tree_of(path)):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            is_endless = isinstance(node, ast.While) and isinstance(node.test, ast.Constant)
            is_wait = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in WAITS
                and not node.args
                and not node.keywords
            )
            if is_endless or is_wait:
                yield (name_of(path), function.name), f"{name_of(path)}:{node.lineno}"


@each(COPIED)
def test_everything_ends(path):
    lines = [line for place, line in unbounded(path) if place not in BOUNDED]
    assert lines == [], "give it a timeout, or say in BOUNDED what bounds it"


def test_every_exception_is_needed():
    assert set(BOUNDED) == {place for path in COPIED for place, _ in unbounded(path)}


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "while 1: pass",
        "thread.join()",
        "process.wait()",
        "queue.get()",
        "lock.acquire()",
        "future.result()",
    ],
)
def test_it_is_found(tmp_path, code, monkeypatch):
    file = tmp_path / "concurrent_futures_fix.py"
    file.write_text(f"def function():\n    {code}\n")
    monkeypatch.setattr("helpers.house.TESTS", tmp_path)
    assert [line for _, line in unbounded(file)] == ["concurrent_futures_fix.py:2"]
