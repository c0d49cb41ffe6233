"""What the scripts are told that cannot be meant is refused at once."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

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
