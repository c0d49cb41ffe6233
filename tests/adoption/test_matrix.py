"""What `make matrix` plans; that it is green it says itself."""

import itertools
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

sys.path.append(str(ROOT))
import noxfile  # noqa: E402
from noxfile import MODES, NOT_FOR, PAHOS, PLUGINS, PYTESTS, PYTHONS, Layout  # noqa: E402

HERE = [PYTHONS, ["3.9"], ["3.11"], ["3.9", "3.13"]]


def exists(python, version):
    return f"pytest {version}" not in NOT_FOR.get(python, ())


@pytest.mark.parametrize("pythons", HERE, ids=str)
class TestMatrix:
    def test_has_every_environment_that_exists(self, pythons):
        planned = {cell.environment for cell in noxfile.plan_matrix(pythons)}
        product = itertools.product(pythons, PYTESTS, PAHOS)
        assert planned == {names for names in product if exists(*names[:2])}

    def test_has_every_layout(self, pythons):
        planned = {cell.layout for cell in noxfile.plan_matrix(pythons)}
        assert planned == set(itertools.product(MODES, (False, True), PLUGINS))

    def test_has_every_pair_of_values(self, pythons):
        def pairs(cells):
            return {pair for cell in cells for pair in itertools.combinations(enumerate(cell), 2)}

        everything = itertools.product(pythons, PYTESTS, PAHOS, MODES, (False, True), PLUGINS)
        planned = [(*cell.environment, *cell.layout) for cell in noxfile.plan_matrix(pythons)]
        assert pairs(planned) == pairs(cell for cell in everything if exists(*cell[:2]))

    def test_has_nothing_twice(self, pythons):
        planned = list(noxfile.plan_matrix(pythons))
        assert len(planned) == len(set(planned))


def test_all_pythons_together_need_a_cell_for_each_environment_and_no_more():
    until_3_13 = [python for python in PYTHONS if python != "3.14"]
    assert len(list(noxfile.plan_matrix(until_3_13))) == 42


@pytest.mark.parametrize("pythons", HERE, ids=str)
class TestCorners:
    def test_can_be(self, pythons):
        possible = noxfile.possible_cells(pythons)
        for cell in noxfile.plan_corners(pythons):
            assert cell in possible[cell.environment]

    def test_have_the_oldest_and_the_newest_of_everything(self, pythons):
        environments = [cell.environment for cell in noxfile.plan_corners(pythons)]
        [*_, newest] = (version for version in PYTESTS if exists(pythons[-1], version))
        assert environments[0] == (pythons[0], "7.4", "1.6")
        assert environments[-1] == (pythons[-1], newest, "newest")

    def test_have_every_import_mode_with_and_without_package(self, pythons):
        layouts = [cell.layout[:2] for cell in noxfile.plan_corners(pythons)]
        assert set(layouts) == set(itertools.product(MODES, (False, True)))


def test_what_does_not_exist_is_so_by_the_lock():
    [before_3_10, _] = noxfile.locked("pytest")
    pinned = PYTESTS["8.4"][0]
    assert before_3_10.split(" ; ") == [pinned, "python_full_version < '3.10'"]
    assert noxfile.pytests_for("3.9") == ["7.4", "8.4"]
    assert noxfile.pytests_for("3.10") == list(PYTESTS)


def test_the_lock_is_asked_for_whole_names():
    assert [line.partition("==")[0] for line in noxfile.locked("pytest", "paho-mqtt")] == [
        "paho-mqtt",
        "pytest",
        "pytest",
    ]


def test_a_layout_says_what_it_is():
    assert str(Layout("append", True, "xdist")) == "append, package, xdist"


class TestFindPythons:
    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch, tmp_path):
        """A machine that has nothing but what a test puts there, and the Python of the tests."""
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
        monkeypatch.setattr(sys, "executable", str(self.put(tmp_path / "ours" / "python")))

    def put(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o755)
        return path

    def test_prefers_pyenv_s_to_its_shims(self, tmp_path):
        self.put(tmp_path / "bin" / "python3.10")
        self.put(tmp_path / "bin" / "python3.12")
        own = self.put(tmp_path / "pyenv" / "versions" / "3.10.13" / "bin" / "python3.10")
        assert noxfile.find_pythons() == {
            "3.10": str(own),
            "3.12": str(tmp_path / "bin" / "python3.12"),
        }

    def test_finds_the_one_that_it_runs_on(self, tmp_path):
        own = self.put(tmp_path / "ours" / "python3.11")
        assert noxfile.find_pythons() == {"3.11": str(own)}

    def test_takes_the_one_that_it_runs_on_whatever_it_is_where_there_is_no_other(self, tmp_path):
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        assert noxfile.find_pythons() == {version: str(tmp_path / "ours" / "python")}
        assert os.environ["PATH"] == str(tmp_path / "bin")
