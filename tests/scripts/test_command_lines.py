"""What the scripts are told that cannot be meant is refused at once."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest
from speedup.command import parse

NUMBERS = ("0", "-3", "1.5", "many", "")
SECONDS = ("0", "-1", "nan", "inf", "soon")
FOLDERS = (str(Path(__file__).parent),)

OPTIONS = {
    ("rivals_bench.command", "--rounds"): NUMBERS,
    ("rivals_bench.command", "--tests"): NUMBERS,
    ("rivals_bench.command", "--json"): FOLDERS,
    ("benchmark.command", "--rounds"): NUMBERS,
    ("benchmark.command", "--loans"): NUMBERS,
    ("benchmark.command", "--scale"): NUMBERS,
    ("soak_test.command", "--json"): FOLDERS,
    ("speedup.command", "--budget"): SECONDS,
    ("speedup.command", "--json"): FOLDERS,
    ("speedup.command", "--picture"): FOLDERS,
    ("speedup.command", "--html"): FOLDERS,
    ("migrate", "--timeout"): SECONDS,
}
"""By script and option, what it is not to be."""

WORDS_BEFORE = {"migrate": ["verify", "."]}


@pytest.mark.parametrize(
    ("script", "option", "value"),
    [(*where, value) for where, values in OPTIONS.items() for value in values],
)
def test_a_value_that_cannot_be_meant_is_one_clear_error(script, option, value, capsys):
    with pytest.raises(SystemExit) as end:
        importlib.import_module(script).main([*WORDS_BEFORE.get(script, []), f"{option}={value}"])
    assert end.value.code == 2
    [error] = [line for line in capsys.readouterr().err.splitlines() if " error: " in line]
    assert f"argument {option}: " in error
    assert error.endswith((" above 0", ": name a file"))


def test_sizes_are_run_once_each_the_smallest_first(monkeypatch, capsys, tmp_path):
    rivals = importlib.import_module("rivals_bench.command")
    held = []

    class Contest:
        def __init__(self, _rivals, _folder, sizes):
            held.extend(sizes)
            self.versions, self.results = {}, []

        def hold(self, rounds):
            held.append(rounds)

    monkeypatch.setattr(rivals, "Contest", Contest)
    words = ["--tests", "50", "5", "50", "--rounds", "1", "--json", str(tmp_path / "figures")]
    assert rivals.main(words) == 0
    assert held == [5, 50, 1]
    assert "; 1 round; " in capsys.readouterr().out


def test_what_is_read_only_is_refused_before_anything_runs(repo, capsys, monkeypatch):
    # As root may write everywhere, the system is not asked.
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (repo.folder, os.W_OK))
    with pytest.raises(SystemExit):
        parse(["--html", str(repo.folder / "new" / "page.html")])
    assert f"cannot be written: {repo.folder} is read-only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "why"),
    [("conftest.py/page.html", "conftest.py is no folder"), ("x" * 300, "File name too long")],
    ids=["below-a-file", "long-name"],
)
def test_what_cannot_be_a_file_is_refused_before_anything_runs(repo, capsys, name, why):
    with pytest.raises(SystemExit):
        parse(["--html", str(repo.folder / name)])
    assert why in capsys.readouterr().err


def test_one_file_for_two_things_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        parse(["--json", "a", "--html", str(tmp_path / "a")])
    assert "have to name different files" in capsys.readouterr().err
