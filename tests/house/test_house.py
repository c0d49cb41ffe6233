"""The shape of what users copy: small rooms, arrows one way, walls around private names."""

import ast

import pytest
from helpers.house import COPIED, DOORS, KIT, ROOMS, TESTS, each, name_of, tree_of

# From the ground up; a room imports from its own floor and from those below.
FLOORS = ("wire", "broker", "clients", "services")

# The only rooms with private names of others.
WALLS = {
    "concurrent_futures_fix.py",
    "clients/observing_client.py",  # it overrides paho's methods
    "clients/paho_internals.py",
    "interruption.py",
    "pytest_internals.py",
    "threads.py",
}


def floor_of(parts):
    return next((FLOORS.index(part) for part in parts if part in FLOORS), None)


def imports_of(path):
    """Give the rooms that a room imports, as parts of a path in the kit."""
    package = path.relative_to(KIT).parent.parts
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            yield (*base, *(node.module or "").split("."), *(alias.name for alias in node.names))


@each(ROOMS)
def test_arrows_point_one_way(path):
    own = floor_of(path.relative_to(KIT).parts)
    for imported in imports_of(path):
        floor = floor_of(imported)
        if floor is not None and own is not None:
            assert floor <= own, f"{name_of(path)} imports {'.'.join(imported)}"


@each([room for room in ROOMS if floor_of(room.relative_to(KIT).parts) is None])
def test_what_all_floors_share_stands_on_the_ground(path):
    assert [parts for parts in imports_of(path) if floor_of(parts) is not None] == []


@each(ROOMS)
def test_rooms_import_each_other_relatively(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert not (node.module or "").startswith(("mqtt_testing", "tests"))


@each([room for room in ROOMS if "wire" in room.parts])
def test_the_wire_knows_neither_pytest_nor_paho(path):
    modules = {
        name.partition(".")[0]
        for node in ast.walk(tree_of(path))
        for name in [
            *([alias.name for alias in node.names] if isinstance(node, ast.Import) else []),
            *([node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []),
        ]
    }
    assert not modules & {"pytest", "paho"}


@each(COPIED)
def test_a_file_is_read_in_one_sitting(path):
    lines = len(path.read_text().splitlines())
    assert lines <= (80 if path.stem in DOORS else 400)


@each(COPIED)
def test_pytest_takes_none_of_them_for_a_test(path):
    assert not path.name.startswith("test_")
    assert not path.stem.endswith("_test")


@each(COPIED)
def test_no_class_has_more_than_twenty_public_methods_of_its_own(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ClassDef):
            methods = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
            assert len([name for name in methods if not name.startswith("_")]) <= 20, node.name


@each([path for path in COPIED if name_of(path) not in WALLS])
def test_private_names_of_others_stay_behind_their_walls(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "_kit")
            is_super = isinstance(node.value, ast.Call)
            is_special = node.attr.startswith("__")
            assert is_own or is_super or is_special, f"{name_of(path)}:{node.lineno} {node.attr}"


@each([*(TESTS / f"{name}.py" for name in DOORS), KIT / "__init__.py"])
def test_what_is_copied_says_its_licence(path):
    assert path.read_text().startswith("# SPDX-License-Identifier: MIT\n")


@pytest.mark.parametrize("folder", ["tests", "scripts"])
def test_no_file_is_too_long_to_live_in(folder):
    files = [p for p in (TESTS.parent / folder).rglob("*.py") if "__pycache__" not in p.parts]
    too_long = {str(p): len(p.read_text().splitlines()) for p in files}
    assert {name: lines for name, lines in too_long.items() if lines > 700} == {}


@pytest.mark.parametrize("package", ["broker", "clients"])
def test_brokers_and_clients_do_without_the_executors_file(package):
    needed = [room for room in ROOMS if room.parent.name == package]
    for room in needed:  # which grows
        for parts in imports_of(room):
            paths = [KIT.joinpath(*parts[:n]).with_suffix(".py") for n in range(1, len(parts) + 1)]
            needed += [path for path in paths if path.exists() and path not in needed]
    assert KIT / "executors.py" not in needed
