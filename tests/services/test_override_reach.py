"""Which tests get the fast definition, what it leaves alone, and what is said of the rest.

The fixtures return texts, so that a test sees which one it got.
"""

import pytest
from helpers.drop_in import Repository, few_plugins  # noqa: F401

pytestmark = pytest.mark.usefixtures("few_plugins")

WIRING = """
    import pytest
    from optimized_service_fixture import override_fixture

    @pytest.fixture
    def pool(): return "pool"

    @pytest.fixture
    def fast(pool, **slow): return ("fast", pool, slow)

    override_fixture("thermostat", fast)
"""

SLOW = """
    import pytest, unittest

    @pytest.fixture
    def slow_mqtt_broker(): raise AssertionError("the slow broker was started")

    @pytest.fixture
    def config(request): return getattr(request, "param", "default")

    @pytest.fixture
    def thermostat(slow_mqtt_broker, config): raise AssertionError("the slow fixture was used")
"""

PLUGIN = "import pytest\n@pytest.fixture\ndef thermostat(): raise AssertionError('slow')\n"


@pytest.fixture
def repository(pytester):
    repository = Repository(pytester, ["optimized_service_fixture", "concurrent_futures_fix"])
    return repository.write("tests/conftest.py", WIRING)


def run(repository, test, *arguments, slow=SLOW, **outcomes):
    repository.write("tests/test_it.py", slow + test)
    result = repository.run("-W", "error", *arguments)
    result.assert_outcomes(**(outcomes or {"passed": 1}))
    return result


def overrides_told(result):
    return [line for line in result.outlines if line.startswith(("thermostat", "door_bell"))]


class TestReach:
    def test_directly_with_the_fakes_of_the_slow_one(self, repository):
        test = """
    def test_it(thermostat): assert thermostat == ("fast", "pool", {"config": "default"})
"""
        assert overrides_told(run(repository, test)) == []

    def test_a_fixture_of_a_plugin(self, repository):
        repository.write("plugin.py", PLUGIN)
        test = "def test_it(thermostat): assert thermostat[0] == 'fast'\n"
        result = run(repository, test, "-p", "plugin", slow="")
        assert overrides_told(result) == []

    def test_one_that_a_test_asks_for_as_it_runs(self, repository):
        test = """
    def test_it(request): assert request.getfixturevalue("thermostat")[0] == "fast"
"""
        run(repository, test)

    def test_one_that_other_fixtures_use(self, repository):
        test = """
    @pytest.fixture
    def house(thermostat): return [thermostat]

    @pytest.fixture
    def street(request): return [request.getfixturevalue("thermostat")]

    def test_it(house, street): assert house == street and house[0][0] == "fast"
"""
        run(repository, test)

    def test_a_session_has_one_slow_fixture_no_more(self, repository):
        slow = SLOW.replace(
            "@pytest.fixture\n    def th", "@pytest.fixture(scope='session')\n    def th"
        )
        slow = slow.replace("def thermostat(slow_mqtt_broker, config)", "def thermostat()")
        assert "session" in slow
        run(
            repository, "\n    def test_it(thermostat): assert thermostat[0] == 'fast'\n", slow=slow
        )

    def test_unittest_cases(self, repository):
        test = """
    class TestWithAutouse(unittest.TestCase):
        @pytest.fixture(autouse=True)
        def _use(self, thermostat): self.thermostat = thermostat
        def test_it(self): assert self.thermostat[0] == "fast"

    @pytest.mark.usefixtures("thermostat")
    class TestWithMarker(unittest.TestCase):
        def test_it(self): pass
"""
        run(repository, test, passed=2)

    @pytest.mark.parametrize(("values", "count"), [("[1, 2]", 2), ("[3]", 1)])
    def test_a_fake_may_be_parametrized(self, repository, values, count):
        test = f"""
    @pytest.mark.parametrize("config", {values}, indirect=True)
    def test_it(thermostat, config): assert thermostat[2] == {{"config": config}}

    @pytest.mark.parametrize("config", {values})
    def test_direct(thermostat, config): assert thermostat[2] == {{"config": config}}

    @pytest.mark.parametrize("number", {values})
    def test_beside(thermostat, number): assert thermostat[0] == "fast"
"""
        run(repository, test, passed=3 * count)

    def test_a_value_that_a_test_gives_needs_no_fixture(self, repository):
        slow = SLOW.replace("def config(request)", "def config(slow_mqtt_broker)")
        test = """
    @pytest.mark.parametrize("config", [1])
    def test_it(thermostat, config): assert thermostat[2] == {"config": 1}
"""
        run(repository, test, slow=slow)

    def test_what_a_plugin_has_a_test_need_is_set_up(self, repository):
        plugin = """
    @pytest.fixture
    def needed(record_property): record_property("needed", 1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_generate_tests(metafunc): metafunc.fixturenames.append("needed")
"""
        repository.write("tests/conftest.py", WIRING + plugin)
        test = """
    def test_it(thermostat, request): assert request.node.user_properties == [("needed", 1)]
"""
        run(repository, test)

    def test_what_the_fast_one_needs_may_have_params(self, repository):
        wiring = WIRING.replace(
            "fixture\n    def pool(): return",
            "fixture(params='ab')\n    def pool(request): return request.param, ",
        )
        repository.write("tests/conftest.py", wiring)
        test = "\n    def test_it(thermostat): assert thermostat[1][0] in 'ab'\n"
        run(repository, test, passed=2)

    def test_what_only_the_slow_one_needs_is_not_set_up(self, repository):
        wiring = WIRING.replace("pool, **slow", "pool").replace("pool, slow)", "pool)")
        repository.write("tests/conftest.py", wiring)
        test = """
    def test_it(thermostat, request):
        assert thermostat == ("fast", "pool")
        assert not {"config", "slow_mqtt_broker"} & set(request.fixturenames)
        assert "pool" in request.fixturenames
"""
        run(repository, test)

    def test_the_fast_one_may_extend_the_slow_one(self, repository):
        wiring = WIRING.replace("pool, **slow", "thermostat").replace(
            '("fast", pool, slow)', "thermostat + ' and fast'"
        )
        repository.write("tests/conftest.py", wiring)
        slow = "    import pytest\n    @pytest.fixture\n    def thermostat(): return 'slow'\n"
        test = "\n    def test_it(thermostat): assert thermostat == 'slow and fast'\n"
        run(repository, test, slow=slow)

    def test_a_fixture_that_has_another_name_than_its_function(self, repository):
        wiring = WIRING.replace("fixture\n    def fast", "fixture(name='quick')\n    def fast")
        repository.write("tests/conftest.py", wiring)
        run(repository, "\n    def test_it(thermostat): assert thermostat[0] == 'fast'\n")

    def test_workers_of_xdist(self, repository):
        pytest.importorskip("xdist")
        test = "\n    def test_it(thermostat): assert thermostat[0] == 'fast'\n"
        repository.write("tests/test_other.py", "def test_it(thermostat): pass")
        wiring = WIRING + '\n    override_fixture("door_bell", fast)\n'
        repository.write("tests/conftest.py", wiring)
        result = run(repository, test, "-p", "xdist", "-n", "2", passed=1, errors=1)
        [line] = overrides_told(result)
        assert line.startswith("door_bell: nothing was overridden.")


class TestLeftAlone:
    def test_modules_and_classes_stay_as_they_are(self, repository):
        test = """
    import sys
    before = dict(vars(sys.modules[__name__]))

    class Base:
        @pytest.fixture
        def thermostat(self): raise AssertionError("slow")

    own = vars(Base)["thermostat"]

    class TestIt(Base):
        def test_it(self, thermostat):
            assert thermostat[0] == "fast"
            assert vars(Base)["thermostat"] is own
            now = vars(sys.modules[__name__])
            assert all(now[name] is value for name, value in before.items())
"""
        run(repository, test)

    def test_tests_that_the_override_does_not_count_for(self, repository):
        (repository.tests / "attic").mkdir()
        repository.write("tests/conftest.py", "")
        repository.write("tests/attic/conftest.py", WIRING)
        repository.write("tests/attic/test_attic.py", "def test_it(thermostat): pass\n")
        repository.write("plugin.py", PLUGIN.replace("raise AssertionError('slow')", "return 1"))
        test = """
    def test_it(thermostat): assert thermostat == 1
    def test_names(request): assert not [n for n in request.fixturenames if "override" in n]
    def test_plugins(pytestconfig):
        names = [name for name, _ in pytestconfig.pluginmanager.list_name_plugin()]
        assert not [name for name in names if "(override" in name]
"""
        run(repository, test, "-p", "plugin", slow="", passed=4)

    @pytest.mark.parametrize("options", ["", "(params=[3])"], ids=["", "of one with params"])
    def test_a_test_that_gives_the_value_itself(self, repository, options):
        slow = SLOW.replace("fixture\n    def thermostat", f"fixture{options}\n    def thermostat")
        test = """
    @pytest.mark.parametrize("thermostat", [1, 2])
    def test_it(thermostat): assert thermostat in (1, 2)
"""
        assert overrides_told(run(repository, test, passed=2, slow=slow)) == []

    @pytest.mark.parametrize("between", ["", "quicker"])
    def test_what_makes_use_of_the_fast_one(self, repository, between):
        test = f"""
    @pytest.fixture
    def quicker(fast): return fast

    @pytest.fixture
    def thermostat({between or "fast"}): return "extended", {between or "fast"}

    class TestIt:
        @pytest.fixture
        def thermostat(self, thermostat): return "twice", *thermostat

        def test_in_class(self, thermostat): assert thermostat[:2] == ("twice", "extended")

    def test_it(thermostat): assert thermostat[0] == "extended"
"""
        result = run(repository, test, slow="    import pytest\n", passed=2)
        assert overrides_told(result) == []

    def test_a_name_of_the_fast_one_may_mean_another_fixture(self, repository):
        """It is not the fast one that the slow one returns, so it is replaced."""
        test = """
    @pytest.fixture
    def fast(): return "my own"

    @pytest.fixture
    def thermostat(fast): return fast

    def test_it(thermostat): assert thermostat == ("fast", "pool", {"fast": "my own"})
"""
        assert overrides_told(run(repository, test, slow="    import pytest\n")) == []


class TestToldAtTheEnd:
    def told(self, repository, test, slow=SLOW, *arguments, **outcomes):
        [line] = overrides_told(run(repository, test, *arguments, slow=slow, **outcomes))
        return line

    def bell(self, repository):
        wiring = WIRING + '\n    override_fixture("door_bell", fast)\n'
        return repository.write("tests/conftest.py", wiring)

    def test_a_name_that_no_fixture_has(self, repository):
        line = self.told(self.bell(repository), "\n    def test_it(thermostat): pass\n")
        assert line.startswith("door_bell: nothing was overridden. None of the tests ")

    def test_it_in_a_run_of_the_whole_folder(self, repository):
        test = "\n    def test_it(thermostat): pass\n"
        self.told(self.bell(repository), test, SLOW, "tests")

    def test_not_in_a_run_of_some_tests(self, repository):
        test = "\n    def test_it(thermostat): pass\n"
        result = run(self.bell(repository), test, "tests/test_it.py")
        assert overrides_told(result) == []

    def test_not_where_nothing_is_to_be_overridden(self, repository, monkeypatch):
        monkeypatch.setenv("CAMERA_DETECTOR_FIXTURE", "original")
        test = "\n    def test_it(thermostat): assert thermostat == 'slow'\n"
        slow = "    import pytest\n    @pytest.fixture\n    def thermostat(): return 'slow'\n"
        result = run(self.bell(repository), test, slow=slow)
        assert overrides_told(result) == []

    def test_one_that_is_asked_for_too_late(self, repository):
        late = WIRING.replace(
            '    override_fixture("', '    def pytest_collection_finish(): override_fixture("'
        )
        repository.write("tests/conftest.py", late)
        slow = "    import pytest\n    @pytest.fixture\n    def thermostat(): return 'slow'\n"
        test = "\n    def test_it(thermostat): assert thermostat == 'slow'\n"
        line = self.told(repository, test, slow)
        assert "asked for when the tests had been collected" in line

    def test_a_param_that_may_be_missing(self, repository):
        slow = """
    import pytest
    @pytest.fixture
    def thermostat(request): return getattr(request, "param", "none")
"""
        test = """
    @pytest.mark.parametrize("thermostat", ["given"], indirect=True)
    def test_it(thermostat): assert thermostat == "given"
"""
        line = self.told(repository, test, slow)
        assert line.startswith("thermostat in tests/test_it.py was left as it is: it is param")

    def test_it_once_for_all_tests_with_the_file_that_has_the_fixture(self, repository):
        slow = "\n    @pytest.fixture(params=[1])\n    def thermostat(request): return 'slow'\n"
        repository.write("tests/conftest.py", WIRING + slow)
        for name in "ab":
            repository.write(f"tests/test_{name}.py", "def test_it(thermostat): pass\n")
        test = "def test_it(thermostat): assert thermostat == 'slow'\n"
        line = self.told(repository, test, "", passed=3)
        assert line.startswith("thermostat in tests/conftest.py was left as it is: it is param")

    def test_one_of_a_plugin(self, repository):
        slow = PLUGIN.replace("fixture\n", "fixture(autouse=True)\n")
        repository.write("plugin.py", slow.replace("raise AssertionError('slow')", "return 'slow'"))
        test = "def test_it(thermostat): assert thermostat == 'slow'\n"
        line = self.told(repository, test, "", "-p", "plugin")
        assert line.startswith("thermostat in plugin.py was left as it is: it is autouse")

    def test_a_wider_fixture_keeps_it_slow_where_it_is_used_only(self, repository):
        test = """
    import pytest
    @pytest.fixture(scope="module")
    def thermostat(): return "slow"
    @pytest.fixture(scope="module")
    def house(thermostat): return [thermostat]
    def test_of_the_house(house): assert house == ["slow"]
    def test_it(thermostat): assert thermostat[0] == "fast"
"""
        line = self.told(repository, test, "", passed=2)
        assert "the fixture house uses it, and the fast thermostat is one test's own" in line
        assert line.endswith("Tests without house get the fast one")
