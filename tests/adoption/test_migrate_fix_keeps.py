"""What `scripts/migrate.py fix` keeps: everything but waits, and what they leave unused."""

from pathlib import Path

import pytest
from helpers.scanned_repository import DISCOVERY, fixed, fixed_body
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ODD_FORMAT = """\
\"\"\"Odd, but theirs.\"\"\"
import  time   # two spaces
now=time.time

class TestIt :
\tdef test_it( self,camera_detector ) :   # a tab

\t\t# before the wait
\t\ttime.sleep( 2 )   # the wait
\t\t# after the wait
\t\tassert camera_detector.cameras==[ 1,
\t\t\t2 ]

\tdef test_loop(self, camera_detector):
\t\t# the loop
\t\twhile not camera_detector.cameras:  # its head
\t\t\t# inside
\t\t\ttime.sleep(.1)  # its sleep
\t\tassert camera_detector.cameras;   x = 'it''s'
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("bom", ["", "\ufeff"], ids=["plain", "BOM"])
@pytest.mark.parametrize("last", ["", "# no end of line"])
def test_formatting_and_comments_are_kept(repo, end, bom, last):
    before = (bom + ODD_FORMAT + last).replace("\n", end)
    expected = (
        before.replace("time.sleep( 2 )", DISCOVERY)
        .replace(f"while not camera_detector.cameras:  # its head{end}", f"# its head{end}")
        .replace("\t\t\t# inside", "\t\t# inside")
        .replace("\t\t\ttime.sleep(.1)  # its sleep", f"\t\t# its sleep{end}\t\t{DISCOVERY}")
    )
    path = repo.write("tests/test_it.py", before.encode())
    assert repo.fixed() == {Path("tests/test_it.py"): expected}
    path.write_bytes(expected.encode())
    assert repo.fixed() == {}


ONLY_USE = """\
import time


def test_it(camera_detector):
    time.sleep(2)
    assert camera_detector.cameras
"""


def imports_after(repo, before, body="time.sleep(2)", end="\n"):
    """What a fix leaves above the test, where its wait is all that needs the imports."""
    test = f"def test_it(camera_detector):\n    {body}\n    assert camera_detector.cameras\n"
    after = fixed(repo, (before + test).replace("\n", end).encode()).replace(end, "\n")
    assert after.endswith(test.replace(body, DISCOVERY))
    return after[: after.index("def test_it")]


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import time\n\n\n", ""),
        ("import time\n\nimport pytest\n\n\n", "import pytest\n\n\n"),
        ('"""Doc."""\n\nimport time\n\n\n', '"""Doc."""\n\n\n'),
        ("import os\nimport time\n\n\n", "import os\n\n\n"),
        ("import os\n\nimport time\n\nimport re\n", "import os\n\nimport re\n"),
        ("import os, time, re\n", "import os, re\n"),
        ("import os,  time # both\n", "import os # both\n"),
        ("import os; import time\n", "import os\n"),
        ("# for waiting\nimport time\nimport re\n", "# for waiting\nimport re\n"),
        ("import time  # to wait\nimport re\n", "# to wait\nimport re\n"),
        (
            "\f\nimport os\n# \u2028\n\f\nimport time\nimport re\n",
            "\f\nimport os\n# \u2028\n\f\nimport re\n",
        ),
        ("import time  # noqa: F401\n", None),
        ("import time  # isort: skip\n", None),
        ("# ruff: noqa\nimport time\n", None),
        ("import time as time\n", None),
        ("import time\n__all__ = ['time']\n", None),
        ("import time\n__all__ = []\n__all__ += ['time']\n", None),
        ("import time\nsetattr(globals(), 'time', None)\n", None),
        ("import time\nKEY = {'time': 1}['time']\n", "KEY = {'time': 1}['time']\n"),
        ("import time\nCLOCK = f'{__name__}.time.time'\n", None),
        ("import time\nNOW = time.time\n", None),
        ("try:\n    import time\nexcept ImportError:\n    raise\n", None),
    ],
)
def test_an_import_that_the_fix_leaves_unused_goes(repo, before, after, end):
    expected = before if after is None else after
    assert imports_after(repo, before, end=end) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from time import sleep\n", ""),
        ("from time import sleep, time\n", "from time import time\n"),
        ("from time import (\n    sleep,\n    time,\n)\n", "from time import (\n    time,\n)\n"),
        ("from time import (\n    time,\n    sleep,\n)\n", "from time import (\n    time,\n)\n"),
        (
            "from time import (  # why\n    time,\n    sleep,  # to wait\n)\n",
            "from time import (  # why\n    time,\n)\n",
        ),
        ("from time import (sleep, time,  # both\n)\n", None),
        ("from time import *\nfrom time import sleep\n", "from time import *\n"),
    ],
)
def test_a_name_that_the_fix_leaves_unused_goes(repo, before, after):
    assert imports_after(repo, before, "sleep(2)") == (before if after is None else after)


def test_what_a_function_imports_for_itself_goes_too(repo):
    body = "import time\ntime.sleep(2)\nassert camera_detector.cameras\n"
    assert fixed_body(repo, body) == f"{DISCOVERY}\nassert camera_detector.cameras\n"


def test_what_was_unused_before_stays(repo):
    text = "import os\nimport time\n" + ONLY_USE.partition("\n")[2]
    assert fixed(repo, text).startswith("import os\n\n\ndef")


@pytest.mark.parametrize(
    "other",
    [
        "from tests.test_it import time\n",
        "from .test_it import time as clock\n",
        "from test_it import *\n",
        "from tests import test_it\nNOW = test_it.time.time()\n",
    ],
)
def test_an_import_that_others_get_from_there_stays(repo, other):
    repo.write("tests/test_other.py", other)
    assert fixed(repo, ONLY_USE).startswith("import time\n")


@pytest.mark.parametrize("last", ["assert camera_detector.cameras", "assert mqtt_monitor.messages"])
def test_what_took_the_place_of_a_later_wait_says_no_more_of_an_earlier_one(repo, last):
    body = "time.sleep(2)\nassert any(m.topic == 'a' for m in mqtt_monitor.messages)\n"
    later = f"mqtt_monitor.clear()\ntime.sleep(1)\n{last}\nassert camera_detector.cameras\n"
    after = fixed_body(repo, body + later)
    assert after.startswith(body)
    assert "sleep(1)" not in after


def test_a_later_loop_with_the_same_target_does_not_need_the_earlier_one(repo):
    loop = "for _ in range(5):\n    if camera_detector.cameras:\n        break\n    time.sleep(1)\n"
    look = "assert camera_detector.cameras\n"
    assert fixed_body(repo, (loop + look) * 2) == f"{DISCOVERY}\n{look}" * 2


STATEMENTS = st.sampled_from(
    [
        "time.sleep(2)",
        "time.sleep(9)  # nine",
        "# a comment",
        "",
        "assert camera_detector.cameras",
        "assert not camera_detector.cameras['x'].online",
        "assert any(m.topic == 'a' for m in mqtt_monitor.messages)",
        "found = camera_detector.cameras",
        "mqtt_monitor.clear()",
        "mqtt_client.publish('a', 'b')",
        "while not camera_detector.cameras: time.sleep(1)",
        "with network_mocks.broken():\n        time.sleep(1)\n"
        "        assert camera_detector.cameras",
    ]
)

TESTS = st.lists(st.lists(STATEMENTS, max_size=8), max_size=3)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(tests=TESTS, end=st.sampled_from(["\n", "\r\n"]))
def test_a_fix_is_done_once_and_touches_nothing_but_waits(repo, tests, end):
    head = "def test_it(camera_detector, mqtt_monitor, mqtt_client, network_mocks):"
    bodies = ["\n    ".join([head, *body, "pass"]) for body in tests]
    before = "\n\n".join(["import time", "BEGIN = time.time()", *bodies]).replace("\n", end)
    path = repo.write("tests/test_it.py", before.encode())
    certain = [finding for finding in repo.scan() if finding.certain]

    text = repo.fixed().get(Path("tests/test_it.py"), before)
    path.write_bytes(text.encode())
    compile(text, path, "exec")
    assert repo.fixed() == {}
    assert before.count("sleep") - text.count("sleep") == len(certain)

    def others(source):
        words = ("sleep", "_once()", "wait_for(", "# nine")
        return [line for line in source.split(end) if not any(word in line for word in words)]

    assert others(text) == others(before)
