"""`migrate.py rollback` loses nothing."""

import re
from pathlib import Path

import pytest
from helpers.drop_in import copy_modules
from helpers.migrating_user import SLOW
from migration.state import FOLDER, Change
from shared.commands import CannotRunError


def test_rollback_is_byte_for_byte(user):
    user.write("tests/conftest.py", b"# one\r\nimport os\nx = 1").chmod(0o640)
    user.write("tests/test_detect.py", SLOW.replace("\n", "\r\n")).chmod(0o755)
    before = user.files()
    user.migrate("apply")
    assert user.files()["tests/conftest.py"][0] & 0o777 == 0o640
    user.migrate("rollback")
    assert user.files() == before


def test_a_symbolic_link_stays_one(user):
    user.write("shared.py", "x = 1\n")
    link = user.root / "tests" / "conftest.py"
    link.symlink_to("../shared.py")
    user.wire(2)
    assert link.is_symlink()
    assert "fix_concurrent_futures" in user.read("shared.py")
    user.migrate("rollback")
    assert user.read("shared.py") == "x = 1\n"


def test_rollback_of_nothing(user):
    assert "nothing to take back" in user.migrate("rollback").stdout


def test_a_dirty_tree_stays_as_dirty_as_it_was(user):
    user.write("tests/conftest.py", "x = 1\n")
    user.git("init", "-q")
    user.git("add", ".")
    user.git("commit", "-qm", "all")
    user.write("tests/conftest.py", "x = 2\n")
    user.write("tests/new.py", "")
    dirty = user.git("status", "--porcelain")
    user.wire(2)
    user.migrate("rollback")
    assert user.git("status", "--porcelain") == dirty
    assert user.read("tests/conftest.py") == "x = 2\n"


@pytest.mark.parametrize("how", ["edited", "removed", "module edited"])
def test_rollback_refuses_to_lose_an_edit(user, how):
    user.write("tests/conftest.py", "x = 1\n")
    user.wire(2)
    path = user.root / "tests" / "conftest.py"
    if how == "module edited":
        path = path.with_name("concurrent_futures_fix.py")
    ours = path.read_bytes()
    path.unlink() if how == "removed" else path.write_bytes(ours + b"mine = 1\n")
    edited = user.files()

    refused = user.migrate("rollback", status=2)
    assert f"tests/{path.name} was edited since" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert ("-x = 1" if how == "removed" else "+mine = 1") in refused.stdout
    data = user.data("rollback", status=2)
    assert [edit["path"] for edit in data["edits"]] == [f"tests/{path.name}"]
    assert user.files() == edited

    path.write_bytes(ours)
    user.migrate("rollback")
    assert user.read("tests/conftest.py") == "x = 1\n"


def make(user, name, content):
    """Change a file as a command does, with a state of its own."""
    change = Change(Path(name), user.repository.read(Path(name)), content)
    user.state.make([change])


def test_edits_between_two_changes_are_not_lost_either(user):
    user.write("tests/a.py", "1\n")
    make(user, "tests/a.py", b"2\n")
    user.write("tests/a.py", "2\nmine\n")
    make(user, "tests/a.py", b"3\nmine\n")
    [edit] = user.state.edits()
    assert (edit.old, edit.new) == (b"2\n", b"2\nmine\n")
    user.write("tests/a.py", "2\n")  # as we left it, before the edit
    assert user.state.edits() == []


def test_changes_one_after_the_other_are_taken_back_in_one(user):
    user.write("tests/a.py", "1\n")
    make(user, "tests/a.py", b"2\n")
    make(user, "tests/a.py", b"3\n")
    for content in ("1\n", "2\n", "3\n"):  # wherever we were interrupted
        user.write("tests/a.py", content)
        assert user.state.edits() == []
    user.state.restore()
    assert user.read("tests/a.py") == "1\n"


def test_an_error_half_way_loses_nothing(user):
    before = user.files()
    changes = [
        Change(Path("tests/test_detect.py"), SLOW.encode(), b"lost"),
        Change(Path("tests/new.py"), None, b"new"),
        Change(Path("tests/new/folder/new.py"), None, b"new"),
        Change(Path("tests/test_detect.py/no/folder.py"), None, b"new"),
    ]
    with pytest.raises(CannotRunError, match=r"Not a directory.*nothing was changed"):
        user.state.make(changes)
    assert user.files() == before
    assert not (user.root / "tests" / "new").exists()
    assert not (user.root / FOLDER).exists()


def test_an_error_half_way_keeps_what_was_done_before(user):
    make(user, "tests/a.py", b"1\n")
    kept = user.state.records
    with pytest.raises(CannotRunError):
        make(user, "tests/a.py/no/folder.py", b"new")
    assert user.state.records == kept
    user.state.restore()
    assert not (user.root / "tests" / "a.py").exists()


@pytest.mark.parametrize("damage", ["{", "[]", '{"tests": null}'])
def test_a_damaged_index(user, damage):
    user.write(f"{FOLDER}/state.json", damage)
    assert "is damaged" in user.migrate("status", status=2).stderr


def test_a_damaged_copy_is_not_restored(user):
    user.write("tests/a.py", "1\n")
    make(user, "tests/a.py", b"2\n")
    for file in (user.root / FOLDER).iterdir():
        if len(file.name) == 64:
            file.write_text("damaged")
    assert "is damaged" in user.migrate("rollback", status=2).stderr
    assert user.read("tests/a.py") == "2\n"


def test_edits_are_set_aside_as_a_patch_that_applies_again(user):
    user.write("tests/conftest.py", "x = 1\n")
    user.write(".gitignore", "__pycache__/\n")
    user.git("init", "-q")
    user.git("add", ".")
    user.git("commit", "-qm", "all")
    user.wire(2)
    edited = f"{user.read('tests/conftest.py')}mine = 1\n"
    user.write("tests/conftest.py", edited)
    module = user.root / "tests" / "concurrent_futures_fix.py"
    module.write_text(module.read_text() + "# mine")

    result = user.migrate("rollback", "--keep-edits")
    assert user.git("status", "--porcelain") == ""
    patch = f"{FOLDER}/edits-1.patch"
    assert f"git apply {patch}" in result.stdout
    user.wire(2)
    user.git("apply", patch)
    assert user.read("tests/conftest.py") == edited
    assert module.read_text().endswith("\n# mine")
    assert user.data("rollback", "--keep-edits")["patch"] == f"{FOLDER}/edits-2.patch"
    assert (user.root / patch).exists()
    assert user.git("status", "--porcelain") == ""


def test_rollback_leaves_edits_of_the_users_own_tests_and_says_so(user):
    user.state.take_snapshot([Path("tests/test_detect.py")])
    user.wire(2)
    user.write("tests/test_detect.py", f"{SLOW}# mine\n")
    assert "edited since in tests/test_detect.py stays" in user.migrate("rollback").stdout
    assert user.read("tests/test_detect.py").endswith("# mine\n")


def test_an_edited_test_is_as_it_was_for_a_comparison(user):
    user.state.take_snapshot([Path("tests/test_detect.py")])
    user.wire(2)
    user.write("tests/test_detect.py", f"{SLOW}# mine\n")
    [change] = [c for c in user.state.as_it_was() if c.path == Path("tests/test_detect.py")]
    assert change.new == SLOW.encode()


def as_an_older_version(user):
    """Have the modules as a version that had other files, and not all of these."""
    version = user.root / "tests/mqtt_testing/__init__.py"
    version.write_text(re.sub(r'__version__ = ".+"', '__version__ = "1.0"', version.read_text()))
    (user.root / "tests/mqtt_testing/summary.py").unlink()
    user.write("tests/mqtt_testing/gone.py", "old = True\n")


def test_update_replaces_the_modules_and_can_be_taken_back(user):
    copy_modules(["mqtt_test_broker", "shared_mqtt_pool"], user.root / "tests")
    as_an_older_version(user)
    before = user.files()
    assert (
        "is there in another version (1.0 there"
        in user.migrate("apply", "--option", 3, status=2).stderr
    )
    text = user.migrate("update", "--dry-run", status=1).stdout
    assert '-__version__ = "1.0"' in text
    assert user.files() == before

    data = user.data("update")
    assert data["before"] == "1.0"
    changed = {change["path"]: change["action"] for change in data["changes"]}
    assert changed == {
        "tests/mqtt_testing/__init__.py": "edit",
        "tests/mqtt_testing/gone.py": "remove",
        "tests/mqtt_testing/summary.py": "create",
    }
    assert f"version {data['after']} already" in user.migrate("update").stdout
    user.migrate("rollback")
    assert user.files() == before


def test_update_loses_no_edit(user):
    user.wire(2)
    module = user.root / "tests" / "concurrent_futures_fix.py"
    ours = module.read_bytes()
    module.write_bytes(ours + b"# mine\n")
    result = user.migrate("update", status=2)
    assert "+# mine" in result.stdout
    assert "update --keep-edits" in result.stderr
    patch = user.data("update", "--keep-edits")["patch"]
    assert module.read_bytes() == ours
    assert "+# mine" in user.read(patch)


def test_update_of_nothing(user):
    assert "has none of our modules" in user.migrate("update", status=2).stderr
