import sys

import pytest
from helpers.thermostat import SLOW, WIRING

pytestmark = pytest.mark.usefixtures("few_plugins")


class TestOverride:
    TEST = "\n    def test_it(thermostat): assert thermostat.room == 'kitchen'\n"

    def test_in_a_module(self, repository):
        repository.write("tests/test_it.py", SLOW + self.TEST)
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_nowhere_where_the_environment_says_so(self, repository, monkeypatch):
        monkeypatch.setenv("CAMERA_DETECTOR_FIXTURE", "original")
        repository.write("tests/test_it.py", SLOW + "    def test_it(thermostat): pass\n")
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*the slow fixture was used*"])
        result.stdout.no_fnmatch_line("*nothing was overridden*")

    def test_under_another_function_name(self, repository):
        slow = SLOW.replace("@pytest.fixture", '@pytest.fixture(name="thermostat")')
        slow = slow.replace("def thermostat", "def make_thermostat")
        repository.write("tests/test_it.py", slow + self.TEST)
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_imported_from_elsewhere(self, repository):
        repository.write("tests/slow.py", SLOW)
        repository.write("tests/test_it.py", "    from slow import thermostat\n" + self.TEST)
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_in_a_class_and_its_base(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import pytest

            class Base:
                @pytest.fixture
                def thermostat(self): raise AssertionError("slow")

            class TestInherited(Base):
                def test_it(self, thermostat): assert thermostat.room == "kitchen"

            class TestOwn:
                @pytest.fixture
                def thermostat(self): raise AssertionError("slow")
                def test_it(self, thermostat): assert thermostat.room == "kitchen"
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=2)

    def test_in_a_conftest(self, repository):
        repository.write("tests/conftest.py", WIRING + SLOW.replace("import pytest, ", "import "))
        repository.write("tests/test_it.py", self.TEST)
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_in_many_modules_classes_and_subclasses(self, repository):
        for number in range(3):
            repository.write(
                f"tests/test_{number}.py",
                SLOW
                + self.TEST
                + """
    class TestClass:
        @pytest.fixture
        def thermostat(self): raise AssertionError("slow")
        def test_it(self, thermostat): assert thermostat.room == "kitchen"

        class TestNested:
            @pytest.fixture(name="thermostat")
            def another(self): raise AssertionError("slow")
            def test_it(self, thermostat): assert thermostat.room == "kitchen"

    class TestSubclass(TestClass):
        @pytest.fixture
        def thermostat(self): raise AssertionError("slow")
                """,
            )
        result = repository.run("-W", "error")
        result.assert_outcomes(passed=15)
        result.stdout.no_fnmatch_line("*fixture overrides*")

    def test_in_a_base_class_that_two_modules_share(self, repository):
        repository.write(
            "tests/base.py",
            """
            import pytest
            class Base:
                @pytest.fixture
                def thermostat(self): raise AssertionError("slow")
            """,
        )
        for number in range(2):
            repository.write(
                f"tests/test_{number}.py",
                """
                from base import Base
                class Test(Base):
                    def test_it(self, thermostat): assert thermostat.room == "kitchen"
                """,
            )
        repository.run("-W", "error").assert_outcomes(passed=2)

    @pytest.mark.parametrize(
        ("option", "body", "test", "reason"),
        [
            (
                "params=[1]",
                "return 'slow'",
                "def test_it(thermostat): assert thermostat == 'slow'",
                "it is parametrized",
            ),
            (
                "",
                "return request.param",
                "@pytest.mark.parametrize('thermostat', ['slow'], indirect=True)\n"
                "def test_it(thermostat): assert thermostat == 'slow'",
                "it is parametrized",
            ),
            (
                "autouse=True",
                "request.node.is_slow = True",
                "def test_it(request): assert request.node.is_slow",
                "it is autouse",
            ),
            (
                "scope='class'",
                "request.cls.service = 'slow'",
                "import unittest\n"
                "@pytest.mark.usefixtures('thermostat')\n"
                "class TestIt(unittest.TestCase):\n"
                "    def test_it(self): assert self.service == 'slow'",
                "it gives the class something",
            ),
            (
                "scope='module'",
                "return 'slow'",
                "@pytest.fixture(scope='module')\n"
                "def house(thermostat): return [thermostat]\n"
                "def test_it(house): assert house == ['slow']",
                "the fixture house uses it, and the fast thermostat is one test's own",
            ),
        ],
        ids=["parametrized", "indirectly", "autouse", "unittest", "scope"],
    )
    def test_what_cannot_be_replaced_works_as_before_and_is_told(
        self, repository, option, body, test, reason
    ):
        repository.write(
            "tests/test_it.py",
            f"import pytest\n@pytest.fixture({option})\ndef thermostat(request): {body}\n{test}\n",
        )
        result = repository.run("-W", "error")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(
            [f"thermostat in tests/test_it.py was left as it is: {reason}*"]
        )

    def test_a_fixture_with_params_takes_the_place_of_one_that_has_them(self, repository):
        variants = """
    @pytest.fixture(params=[18, 21])
    def thermostat_variants(request, fast_thermostat):
        fast_thermostat.temperature = request.param
        return fast_thermostat
    override_fixture("thermostat", thermostat_variants)
        """
        repository.write("tests/conftest.py", WIRING + variants)
        slow = SLOW.replace("@pytest.fixture", "@pytest.fixture(params=[18, 21])")
        test = "\n    def test_it(thermostat): assert thermostat.temperature in (18, 21)\n"
        repository.write("tests/test_it.py", slow + test)
        repository.run("-W", "error").assert_outcomes(passed=2)

    def test_a_wider_fixture_that_asks_for_it_unseen_is_told_what_to_do(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW.replace("@pytest.fixture", "@pytest.fixture(scope='module')")
            + """
    @pytest.fixture(scope="module")
    def house(request): return request.getfixturevalue("thermostat")

    def test_it(house): pass
            """,
        )
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*- what to do -*", "the fast thermostat is one test's own*"])

    def test_the_fakes_of_the_slow_one_are_set_up(self, repository):
        slow = SLOW.replace("def thermostat():", "def thermostat(fake_sensors, slow_mqtt_broker):")
        repository.write(
            "tests/test_it.py",
            slow
            + """
    fakes = []
    @pytest.fixture
    def fake_sensors(): fakes.append("sensors")
    @pytest.fixture
    def slow_mqtt_broker(): raise AssertionError("the slow broker was started")

    def test_it(thermostat): assert fakes == ["sensors"]
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_one_that_extends_the_fast_one_is_left_alone(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import pytest

            @pytest.fixture
            def thermostat(fast_thermostat):
                fast_thermostat.temperature = 21
                return fast_thermostat

            def test_it(thermostat): assert thermostat.temperature == 21
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_one_that_extends_the_slow_one_is_left_and_told(self, repository):
        slow = SLOW.replace("def thermostat():", "def thermostat(thermostat):")
        repository.write("tests/test_it.py", slow + "\n    def test_it(thermostat): pass\n")
        result = repository.run()
        result.stdout.fnmatch_lines(["thermostat in tests/test_it.py was left as it is: it ext*"])

    def test_what_answers_to_every_attribute_is_no_fixture(self, repository):
        repository.write(
            "tests/test_it.py",
            SLOW
            + """
    from unittest.mock import MagicMock
    class Proxy:
        def __getattr__(self, name): raise RuntimeError("outside of request context")
    request, mock = Proxy(), MagicMock()

    def test_it(thermostat): assert thermostat.room == "kitchen"
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    @pytest.mark.parametrize("scope", ["class", "module", "session"])
    def test_of_a_wider_scope(self, repository, scope):
        slow = SLOW.replace("@pytest.fixture", f"@pytest.fixture(scope={scope!r})")
        repository.write("tests/test_it.py", slow + self.TEST)
        repository.run("-W", "error").assert_outcomes(passed=1)

    @pytest.mark.skipif(
        pytest.version_tuple < (8, 4) or sys.version_info < (3, 10),
        reason="pytest refuses them itself",
    )
    @pytest.mark.parametrize("kind", ["classmethod", "staticmethod"])
    def test_methods_that_need_no_instance(self, repository, kind):
        repository.write(
            "tests/test_it.py",
            f"""
            import pytest

            class TestIt:
                @pytest.fixture(scope="class")
                @{kind}
                def thermostat(*args): raise AssertionError("slow")
                def test_it(self, thermostat): assert thermostat.room == "kitchen"
            """.replace("*args", "cls" if kind == "classmethod" else ""),
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_what_is_no_fixture_is_left_alone(self, repository):
        repository.write(
            "tests/test_it.py",
            """
            import thermostat
            def test_it(): assert thermostat.Thermostat
            """,
        )
        repository.run("-W", "error").assert_outcomes(passed=1)

    def test_a_module_that_cannot_be_imported_is_reported_as_always(self, repository):
        repository.write("tests/test_it.py", "import no_such_module")
        result = repository.run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*No module named 'no_such_module'*"])

    def test_a_module_that_fails_by_itself_is_reported_as_always(self, repository):
        repository.write("tests/test_it.py", "import pytest; pytest.fail('no', pytrace=False)")
        result = repository.run()
        result.stdout.no_fnmatch_line("*INTERNALERROR*")
        result.assert_outcomes(errors=1)

    def test_a_module_that_skips_itself_is_skipped(self, repository):
        repository.write(
            "tests/test_it.py", "import pytest; pytest.skip('no', allow_module_level=True)"
        )
        repository.run().assert_outcomes(skipped=1)

    def test_one_that_did_not_take_is_told(self, repository):
        wiring = WIRING + '\n    override_fixture("door_bell", fast_thermostat)\n'
        repository.write("tests/conftest.py", wiring)
        repository.write("tests/test_it.py", SLOW + self.TEST)
        result = repository.run()
        result.stdout.fnmatch_lines(["door_bell: nothing was overridden.*"])

    def test_something_else_than_a_fixture_is_refused(self, repository):
        repository.write(
            "tests/conftest.py",
            """
            from optimized_service_fixture import override_fixture
            override_fixture("thermostat", print)
            """,
        )
        result = repository.run()
        result.stderr.fnmatch_lines(["*override_fixture('thermostat', ...) takes a fixture*"])
