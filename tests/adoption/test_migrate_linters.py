"""What `scripts/migrate.py fix` writes passes the repository's own ruff and flake8."""

import subprocess
import sys
from textwrap import dedent, indent

import pytest

RUFF = """\
[tool.ruff]
line-length = {width}
[tool.ruff.lint]
preview = true
explicit-preview-rules = true
select = ["E", "W", "F", "I", "E301", "E302", "E303", "E305", "E306", "Q", "RET"]
"""
FLAKE8 = "[flake8]\nmax-line-length = {width}\n"

START = """

def start(port):
    broker = subprocess.Popen(["mosquitto", "-p", str(port)])
    time.sleep(1)
    return broker
"""

HEADS = {
    "all imports go": "HAND",
    "docstring": '"""Brokers."""\n\nHAND',
    "licence": "# (c) 2026\n\nHAND",
    "licence without a gap": "# (c) 2026\nHAND",
    "docstring and statement": '"""Brokers."""\n\nHAND\nPORT = 18840\n',
    "future": "from __future__ import annotations\n\nHAND",
    "others stay": "import os\nHAND\nHERE = os.getcwd()\n",
    "third party": "HAND\nimport attr\nimport py\nfrom zope import b\n\nUSED = attr, py, b\n",
    "first party": "HAND\nimport pytest\n\nfrom service import A\n\nUSED = pytest, A\n",
    "first party alone": "HAND\nfrom service import A\n\nUSED = A\n",
    "relative": "HAND\nfrom . import zoo\nfrom .aviary import birds\n\nUSED = zoo, birds\n",
    "comment above": "HAND\n# what it is for\nfrom zope import b\n\nUSED = b\n",
    "from ours": "HAND\nfrom mqtt_test_broker import free_port\n\nUSED = free_port\n",
    "from ours, excused": "HAND\nfrom mqtt_test_broker import free_port  # noqa: F401\n",
    "from ours, long": "HAND\nfrom mqtt_test_broker import (  # noqa: F401\n    free_port,\n"
    "    session_mqtt_broker,\n)\n",
    "path first": 'import subprocess\nimport sys\nimport time\n\nsys.path.append("lib")\n\n'
    "import beside  # noqa: E402\n\nUSED = beside\n",
}

WHOLE = [
    """\
    import subprocess
    import time

    BY = {"port": 18840}


    def in_quotes():
        broker = subprocess.Popen(["mosquitto", "-p", str(BY["port"])])
        time.sleep(1)
        return broker


    def in_a_text():
        delay = 2
        broker = subprocess.Popen(["mosquitto", "-p", f"{BY['port']}"])
        time.sleep(delay)
        return broker


    def in_branches(port):
        if port:
            broker = subprocess.Popen(["mosquitto", "-p", str(port)])
            time.sleep(1)
            return broker
        broker = subprocess.Popen(["mosquitto"])
        time.sleep(1)

        return broker
    """,
    """\
    import shutil
    import subprocess
    import time


    def start():
        seconds = 1
        longer = seconds + 1
        mosquitto = shutil.which("mosquitto")

        broker = subprocess.Popen([mosquitto])
        time.sleep(longer)
        yield broker
        broker.kill()
    """,
    """\
    import time


    def test_it(mqtt_monitor):
        delay = 2
        time.sleep(delay)
        assert mqtt_monitor.messages
    """,
    """\
    import contextlib
    import subprocess
    import time


    @contextlib.contextmanager
    def running():
        broker = subprocess.Popen(["mosquitto"])
        time.sleep(1)
        yield broker
        broker.kill()


    class Nothing:
        pass


    NOTHING = Nothing()
    """,
    """\
    def start():
        import subprocess
        import time

        broker = subprocess.Popen(["mosquitto"])
        time.sleep(1)
        return broker
    """,
    """\
    import subprocess
    from time import (
        monotonic,
        sleep,
    )

    NOW = {"sleep": monotonic()}


    def start():
        broker = subprocess.Popen(["mosquitto"])
        sleep(1)
        return broker
    """,
    """\
    import time


    def test_it(camera_detector):
        time.sleep(2)
        assert camera_detector.cameras
    """,
    """\
    import time


    def test_it(mqtt_monitor):
        topic = "a/rather/long/topic/of/a/camera"
        time.sleep(2)
        assert any(
            m.topic == topic and m.payload == b"on" and m.retain and m.qos == 1
            for m in mqtt_monitor.messages
        )
    """,
    """\
    import asyncio


    async def test_it(mqtt_monitor):
        await asyncio.sleep(20)
        assert any(
            m.topic == "home/garden/irrigation/sprinklers/north/status/now"
            for m in mqtt_monitor.messages
        )
    """,
]

FILES = [
    *(head.replace("HAND", "import subprocess\nimport time\n") + START for head in HEADS.values()),
    *map(dedent, WHOLE),
]


def lint(folder, name):
    """Return what the linters of the repository say about a file, without its places."""
    python = [sys.executable, "-m"]
    ruff = [*python, "ruff", "check", "--no-cache", "--output-format=concise", name]
    said = ""
    for command in (ruff, [*python, "flake8", name]):
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
        assert not run.stderr, run.stderr
        said += run.stdout if run.returncode else ""
    return said


@pytest.fixture(params=[79, 100])
def linted(request, repo):
    """A repository with settings of both linters; its tests are no package."""
    repo.write("pyproject.toml", RUFF.format(width=request.param))
    repo.write(".flake8", FLAKE8.format(width=request.param))
    repo.write("service.py", "class Service:\n    pass\n")
    repo.write("tests/mqtt_test_broker.py", "_register = print\n_register()\n")
    repo.write("tests/conftest.py", "")
    return repo


@pytest.mark.parametrize("package", [False, True], ids=["plain", "package"])
@pytest.mark.slow
def test_what_was_clean_is_clean(linted, package):
    """All in one run of the linters, as starting them takes most of the time."""
    if package:
        linted.write("tests/__init__.py", "")
    for number, text in enumerate(FILES):
        linted.write(
            f"tests/brokers_{number}.py" if "Popen" in text else f"tests/test_{number}.py", text
        )
    assert lint(linted.folder, "tests") == ""
    before = {path: path.read_text() for path in (linted.folder / "tests").glob("*.py")}
    linted.fix()
    assert linted.fixed() == {}
    assert lint(linted.folder, "tests") == ""
    changed = [path for path, text in before.items() if path.read_text() != text]
    assert len(changed) == len(FILES)


@pytest.mark.parametrize(
    ("body", "after"),
    [
        (
            "# how long\ndelay = 1\n\n# go\nb = subprocess.Popen(['mosquitto'])  # begun\n"
            "time.sleep(delay)\n\n# here\nreturn b  # it",
            "# how long\n\n# go\n# begun\n\n# here\nreturn TestMQTTBroker(port=1883).start()  # it",
        ),
        (
            "b = subprocess.Popen(['mosquitto'])  # begun  # noqa: S603\ntime.sleep(1)\nyield b",
            "b = TestMQTTBroker(port=1883).start()  # begun\nyield b",
        ),
    ],
)
def test_comments_stay_but_for_excuses_of_what_is_gone(linted, body, after):
    head = "import subprocess\nimport time\n\n\ndef begin():\n"
    path = linted.write("tests/brokers.py", head + indent(body, "    ") + "\n")
    linted.fix()
    assert path.read_text().partition("begin():\n")[2] == indent(after, "    ") + "\n"


@pytest.mark.parametrize(
    "rest",
    [
        "try:\n    return b\nfinally:\n    b.kill()",
        "cleanups.append(lambda: b.kill())\nreturn b",
        "return b, 1883",
        "assert b\nreturn b",
        "b.port = 1\nreturn b",
    ],
)
def test_a_name_that_is_needed_stays(linted, rest):
    body = f"b = subprocess.Popen(['mosquitto'])\ntime.sleep(1)\n{rest}"
    head = "import subprocess\nimport time\n\ncleanups = []\n\n\ndef begin():\n"
    path = linted.write("tests/brokers.py", head + indent(body, "    ") + "\n")
    linted.fix()
    assert f"    b = TestMQTTBroker(port=1883).start()\n{indent(rest, '    ')}" in path.read_text()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("delay = pick()", ""),
        ("delay = 1\nprint(delay)", ""),
        ("global delay\ndelay = 1", ""),
        ("delay = 1\n\ndef told():\n    return delay\n", "use(told)"),
        ("if FAST:\n    delay = 1\nelse:\n    delay = 2", ""),
        ("for delay in DELAYS:\n    pass", ""),
    ],
)
def test_a_name_that_does_more_than_say_how_long_stays(repo, before, after):
    body = f"{before}\ntime.sleep(delay)\nassert mqtt_monitor.messages\n{after}"
    head = "import time\n\n\ndef test_it(mqtt_monitor):\n"
    path = repo.write("tests/test_it.py", head + indent(body, "    ") + "\n")
    repo.fix()
    assert indent(before, "    ") in path.read_text()
    assert "mqtt_monitor.wait_for" in path.read_text()


def test_the_settings_say_which_modules_are_of_the_first_party(linted):
    settings = linted.folder / "pyproject.toml"
    settings.write_text(settings.read_text().replace("[tool.ruff]", '[tool.ruff]\nsrc = ["tests"]'))
    text = f"import subprocess\nimport time\n\nimport pytest\n\nUSED = pytest\n{START}"
    path = linted.write("tests/brokers.py", text)
    linted.fix()
    assert path.read_text().startswith("import pytest\n\nfrom mqtt_test_broker import")
    assert lint(linted.folder, "tests") == ""


def test_quotes_are_theirs(repo):
    repo.write("ruff.toml", 'lint.flake8-quotes.inline-quotes = "single"\n')
    text = """\
        import time


        def test_it(mqtt_monitor):
            time.sleep(1)
            assert mqtt_monitor.messages
        """
    path = repo.write("tests/test_it.py", dedent(text))
    repo.fix()
    assert "    mqtt_monitor.wait_for('#')\n" in path.read_text()


SETTINGS_BESIDE_RUFF = {
    "isort": (".isort.cfg", "[settings]\nknown_first_party = attr, py\n"),
    "sections": ("setup.cfg", "[isort]\nforce_sort_within_sections = true\n"),
    "black": ("pyproject.toml", "[tool.black]\nline-length = 60\n"),
    "flake8": (".flake8", "[flake8]\nmax-line-length = 60\n"),
}


@pytest.mark.parametrize(
    ("by", "after"),
    [
        ("isort", "from mqtt_test_broker import TestMQTTBroker\n\nimport attr\nimport py\n"),
        ("sections", "import attr\nfrom mqtt_test_broker import TestMQTTBroker\nimport py\n"),
        ("black", "import py\nfrom mqtt_test_broker import TestMQTTBroker\n"),
        ("flake8", "(\n        port=ports_of_the_brokers()[0]\n    ).start()\n"),
    ],
)
def test_without_settings_of_ruff_others_count(repo, by, after):
    repo.write(*SETTINGS_BESIDE_RUFF[by])
    repo.write("tests/mqtt_test_broker.py", "_register = print\n_register()\n")
    head = "import subprocess\nimport time\n\nimport attr\nimport py\n"
    text = START.replace("str(port)", "str(ports_of_the_brokers()[0])")
    path = repo.write("tests/brokers.py", head + text)
    repo.fix()
    assert after in path.read_text()
    assert "    return TestMQTTBroker(\n" in path.read_text() or by in ("isort", "sections")


def test_imports_that_are_not_sorted_are_left_as_they_are(repo):
    repo.write("tests/mqtt_test_broker.py", "_register = print\n_register()\n")
    head = "import time\nimport subprocess\nimport py\nimport attr\n"
    path = repo.write("tests/brokers.py", head + START)
    repo.fix()
    kept = "import py\nimport attr\nfrom mqtt_test_broker import TestMQTTBroker\n\n\ndef start"
    assert path.read_text().startswith(kept)
