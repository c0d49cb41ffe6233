"""`migrate.py apply --service`, on repositories of others that are unlike each other."""

import pytest
from helpers.adopted_repositories import adopted
from migration.state import FOLDER

SERVICES = {
    "doorbell": [("doorbell:Doorbell", "doorbell")],
    "greenhouse": [("greenhouse:Greenhouse", "greenhouse")],
    "gateway": [("gateway.core:make_gateway", "gateway"), ("gateway.core:Meter", "meter")],
    "scales": [("scales:Scales", "scales")],
    "server": [("app.server:Server", "server")],
}
TESTS = {"doorbell": 3, "greenhouse": 2, "gateway": 4, "scales": 3, "server": 2}


@pytest.fixture
def adopt(user, hard_port):
    return lambda name: adopted(user.root, name, hard_port)


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_wired_without_a_hand_edit(adopt, name):
    user = adopt(name)
    before = user.files()
    for service, fixture in SERVICES[name]:
        data = user.data("apply", "--service", service, "--fixture", fixture)
        assert data["proof"]["works"], data
        assert data["by_hand"] == []
        user.data("apply", "--service", service, "--fixture", fixture)
    verified = user.data("verify")
    assert verified["after"] == verified["before"] == {"passed": TESTS[name]}
    assert verified["reasons"] == []

    user.write("tests/conftest.py", user.read("tests/conftest.py") + "# mine\n")
    user.migrate("rollback", "--keep-edits")
    assert user.files() == before
    assert user.git("status", "--porcelain") == ""
    assert (user.root / FOLDER / "edits-1.patch").exists()


GETS_IT = """
    @pytest.fixture(autouse=True)
    def get_lamp(self, lamp):
        self.lamp = lamp
"""


@pytest.mark.slow
def test_a_test_case_needs_one_edit_which_is_named(adopt):
    user = adopt("lamp")
    before = user.files()
    data = user.data("apply", "--service", "lamp:Lamp", "--fixture", "lamp", status=1)
    assert data["proof"]["evidence"] == "no test asks for lamp yet"
    [edit] = data["by_hand"]
    named = "\n".join(line.removeprefix("    ") for line in edit.splitlines())
    assert GETS_IT in f"{named}\n"
    assert edit.endswith("Where the tests build it now: tests/test_lamp.py:26")
    last = user.migrate("verify", status=1).stdout.splitlines()[-1]
    assert last == "Not good: not in effect: no test that ran has used lamp"

    text = user.read("tests/test_lamp.py")
    begin, _, rest = text.partition("    # the fixture begins\n")
    end = rest.partition("    # the fixture ends\n")[2]
    user.write("tests/test_lamp.py", f"import pytest\n{begin}{GETS_IT}{end}")
    verified = user.data("verify")
    assert verified["after"] == {"passed": 2}
    assert verified["reasons"] == []
    user.migrate("rollback", "--keep-edits")
    assert user.files() == before
    assert GETS_IT in user.read(f"{FOLDER}/edits-1.patch").replace("\n+", "\n")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("doorbell", "--service doorbell:Doorbell --fixture doorbell"),
        ("greenhouse", "--service greenhouse:Greenhouse --fixture greenhouse"),
        ("gateway", "--service gateway.core:make_gateway --fixture gateway"),
        ("gateway", "--service gateway.core:Meter --fixture meter"),
        ("scales", "--service scales:Scales --fixture scales"),
        ("lamp", "--service lamp:Lamp --fixture lamp"),
    ],
)
def test_status_and_scan_propose_what_to_type(adopt, name, line):
    user = adopt(name)
    command = f"scripts/migrate.py apply {user.root} {line}"
    assert command in user.data("status", status=1)["next_step"]
    data = user.data("scan", status=None)
    assert command in data["services"]
    assert len(data["services"]) == len(SERVICES.get(name, [0]))


def test_apply_proposes_what_to_type_where_it_serves_nothing(adopt):
    user = adopt("scales")
    command = f"scripts/migrate.py apply {user.root} --service scales:Scales --fixture scales"
    assert command in user.migrate("apply", status=2).stderr
    assert command in user.migrate("apply", "--service", "scales:Scales", status=2).stderr
    assert (
        "was not found"
        in user.migrate(
            "apply", "--service", "scales:Other", "--fixture", "scales", status=2
        ).stderr
    )


def test_status_speaks_of_this_repository(adopt):
    text = adopt("scales").migrate("status", status=1).stdout
    assert "test_detect" not in text
    assert "18x" not in text
    assert "camera" not in text
