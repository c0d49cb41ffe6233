import pytest

pytestmark = pytest.mark.usefixtures("few_plugins")


class TestOverridesOfFolders:
    """Each override returns a text, so that a test sees which one it got."""

    ASK = """
        import pytest
        from optimized_service_fixture import override_fixture

        @pytest.fixture
        def fast(): return "{0}"

        override_fixture("thermostat", fast)
    """

    @pytest.fixture
    def folders(self, repository):
        repository.write("tests/conftest.py", "")
        for name in ("attic", "bath", "cellar", "kitchen"):
            (repository.tests / name).mkdir()
        return repository

    @staticmethod
    def expect(repository, **texts):
        for name, text in texts.items():
            repository.write(
                f"tests/{name}/test_{name}.py",
                f"""
                import pytest

                @pytest.fixture
                def thermostat(): return "slow"

                class TestIt:
                    @pytest.fixture
                    def thermostat(self): return "slow"
                    def test_in_class(self, thermostat): assert thermostat == "{text}"

                def test_it(thermostat): assert thermostat == "{text}"
                """,
            )
        repository.run("-W", "error").assert_outcomes(passed=2 * len(texts))

    def test_each_has_its_own(self, folders):
        for name in ("kitchen", "bath"):
            folders.write(f"tests/{name}/conftest.py", self.ASK.format(name))
        self.expect(folders, kitchen="kitchen", bath="bath", cellar="slow")

    def test_the_nearest_one_wins(self, folders):
        folders.write("tests/conftest.py", self.ASK.format("everywhere"))
        folders.write("tests/bath/conftest.py", self.ASK.format("bath"))
        self.expect(folders, kitchen="everywhere", bath="bath", cellar="everywhere")

    def test_one_that_a_module_asks_for_counts_where_it_is_imported(self, folders):
        """The first one has it run; the others get the module that is there already."""
        folders.write("tests/wiring.py", self.ASK.format("wiring"))
        folders.write("tests/bath/conftest.py", "import wiring")
        folders.write("tests/cellar/conftest.py", "from wiring import fast")
        folders.write("tests/kitchen/conftest.py", "import wiring as w")
        self.expect(folders, attic="slow", bath="wiring", cellar="wiring", kitchen="wiring")

    def test_one_that_a_plugin_asks_for_counts_everywhere(self, folders):
        folders.write("tests/wiring.py", self.ASK.format("plugin"))
        folders.write("tests/conftest.py", "pytest_plugins = ['wiring']")
        self.expect(folders, kitchen="plugin", bath="plugin")

    @pytest.mark.parametrize("overridden", ["bath", "cellar", "kitchen"])
    def test_a_class_that_they_share_is_overridden_in_one_only(self, folders, overridden):
        folders.write(
            "tests/base.py",
            """
            import pytest
            class Base:
                @pytest.fixture
                def thermostat(self): return "slow"
            """,
        )
        for name in ("kitchen", "bath", "cellar"):
            expected = "fast" if name == overridden else "slow"
            folders.write(
                f"tests/{name}/test_{name}.py",
                f"""
                from base import Base
                class TestIt(Base):
                    def test_it(self, thermostat): assert thermostat == "{expected}"
                """,
            )
        folders.write(f"tests/{overridden}/conftest.py", self.ASK.format("fast"))
        folders.run("-W", "error").assert_outcomes(passed=3)

    def test_one_that_did_not_take_is_told_though_another_did(self, folders):
        for name in ("kitchen", "bath"):
            folders.write(f"tests/{name}/conftest.py", self.ASK.format(name))
        slow = "import pytest\n@pytest.fixture\ndef thermostat(): return 'slow'\n"
        test = "def test_it(thermostat): assert thermostat == 'bath'\n"
        folders.write("tests/bath/test_bath.py", slow + test)
        folders.write("tests/kitchen/test_kitchen.py", "def test_it(): pass")
        result = folders.run()
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(["thermostat: nothing was overridden.*"])
        assert result.stdout.str().count("nothing was overridden") == 1

    def test_one_that_is_nowhere_the_nearest_is_not_missed(self, folders):
        folders.write("tests/conftest.py", self.ASK.format("everywhere"))
        folders.write("tests/bath/conftest.py", self.ASK.format("bath"))
        self.expect(folders, bath="bath")
        folders.run().stdout.no_fnmatch_line("*nothing was overridden*")
