"""Why a test fails after the migration that passed before, as far as error and source tell."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .findings import Finding
from .findings.parsing import FUNCTIONS
from .repository import Repository, decode


@dataclass(frozen=True)
class _Cause:
    """A reason why tests fail after the migration, and what it looks like."""

    remedy: str
    message: str = "$nothing"
    """What the error says, as a regular expression; this one matches none."""
    source: str = "$nothing"
    """What the test says, likewise."""


CAUSES = (
    _Cause(
        "misses what conftest.py was to import or define: see what was written there",
        message=r"^(NameError|ImportError|ModuleNotFoundError)\b",
    ),
    _Cause(
        "has the old fixture: the override did not take; apply says why",
        message="has no attribute 'test_run_discovery_once'|has no attribute 'test_run_health",
    ),
    _Cause(
        "found another class: the service is importable under two names, or under none that is "
        "known. Override the fixture camera_detector_class in conftest.py, to return the class "
        "that the test patches",
        message="several classes CameraDetector|No class CameraDetector",
    ),
    _Cause("has no broker: install mosquitto, or set MQTT_TEST_MOSQUITTO", message="mosquitto was"),
    _Cause(
        "needs a fixture that the fast one does not set up: let the test ask for it",
        message="fixture '.*' not found",
    ),
    _Cause(
        "uses what the slow fixture gave the service, and the fast one does not: have a fixture "
        "that asks for the fast one set it, and the test ask for that",
        message="'(?!NoneType')\\w+' object has no attribute",
    ),
    _Cause(
        "needs a dedicated broker, where only the slow fixture started one: have it connect to "
        "test_mqtt_broker.port, or to isolated_mqtt_broker.port for a broker of its own",
        message="Connection refused|ConnectionRefusedError",
    ),
    _Cause(
        "needs a dedicated client: a client on loan always reaches the test broker, is no session "
        "that another could take over, and is gone after the test. Make a client in the test, on "
        "the fixture isolated_mqtt_broker",
        message="on loan|DID NOT RAISE.*(Connection|OSError|Timeout)",
        source=r"clean_session|clean_start|will_set|SessionExpiry|take.?over|_sock\b|1883",
    ),
    _Cause(
        "found another class: it patches a name in a module that the fixture's class is not of. "
        "Import the class in the test module from the module that is patched, or override the "
        "fixture camera_detector_class in conftest.py",
        source=r"""\bpatch(\.object)?\(|monkeypatch\.setattr\(\s*["']|isinstance\(""",
    ),
)
BACKGROUND = (
    "slept for background work, which does not run by itself any more: call what runs it once "
    "instead (test_run_discovery_once() of a camera detector, or what tasks= names in "
    "conftest.py), or test_enable_background_tasks() where the background is what is tested"
)
SHARED = (
    "shared the service with the tests before it, as the slow fixture is not function-scoped; the "
    "fast one gives each test a service of its own: let the test do all that it relies on"
)
_SHARED_FIXTURE = re.compile(r"fixture\(.*scope=.(class|module|package|session)")
_OVERRIDDEN = re.compile(r"\boverride_fixture\(\s*[\"'](\w+)")

_WITHOUT_SERVICE = (
    _Cause("has no broker: install mosquitto, or set MQTT_TEST_MOSQUITTO", message="mosquitto was"),
    _Cause(
        "wants a broker of its own, or none, at a port that redirect_to_test_broker() leads to the "
        "session's: mark it with no_mqtt_broker, or have it use TestMQTTBroker(port=...), whose "
        "address is left alone",
        message=r"Connection refused|ConnectionRefusedError|DID NOT RAISE|not raised",
        source=r"clean_session|clean_start|will_set|retain|take.?over|1883|8883",
    ),
)
_WAITS = re.compile(r"\bsleep\(|\.wait\(|\bwait_for|monotonic\(|while .*:|_thread\b|is_alive\(")
_EXPLICIT = re.compile(r"\btest_(run_\w+_once|enable_background_tasks)\(")


def diagnose(repository: Repository, nodeid: str, reason: str, findings: Sequence[Finding]) -> str:
    """Say why a test of a service fails that passed before, as far as error and source tell."""
    lines, source = _source_of(repository, nodeid)
    path = Path(nodeid.partition("::")[0])
    waits = bool(_WAITS.search(source)) and not _EXPLICIT.search(source)
    for cause in CAUSES:
        if re.search(cause.message, reason):
            return cause.remedy
    is_found = any(finding.path == path and finding.line in lines for finding in findings)
    likely = [BACKGROUND] if is_found else []
    likely += [cause.remedy for cause in CAUSES if re.search(cause.source, source)]
    likely += [BACKGROUND] if waits else []
    likely += [SHARED] if _shares_its_service(repository, path, source) else []
    return "; or it ".join(dict.fromkeys(likely)) or (
        "has no known cause: run it alone, and again with CAMERA_DETECTOR_FIXTURE=original in the "
        "environment"
    )


def diagnose_clients(
    repository: Repository, nodeid: str, reason: str, _findings: Sequence[Finding]
) -> str:
    """Do so for a test whose service, if it has one, runs as it did before."""
    _, source = _source_of(repository, nodeid)
    likely = [c.remedy for c in _WITHOUT_SERVICE if re.search(c.message, reason)]
    likely += [c.remedy for c in _WITHOUT_SERVICE if re.search(c.source, source)]
    return "; or it ".join(dict.fromkeys(likely)) or (
        "has no known cause: run it alone, and again without redirect_to_test_broker(), and "
        "without prompt_mqtt_clients, in conftest.py"
    )


def diagnose_executors(
    _repository: Repository, _nodeid: str, _reason: str, _findings: Sequence[Finding]
) -> str:
    """Do so for a test of a suite where nothing but the executors was mended."""
    return (
        "has no known cause: run it alone, and again without the import of fix_concurrent_futures "
        "in conftest.py"
    )


Diagnose = Callable[[Repository, str, str, Sequence[Finding]], str]

DIAGNOSES: dict[int, Diagnose] = {1: diagnose, 2: diagnose_executors, 3: diagnose_clients}
"""How a test is diagnosed, by the option that its suite has; 1 is that of services."""


def _shares_its_service(repository: Repository, path: Path, source: str) -> bool:
    """Say whether the slow fixture of a test, in its file or a conftest.py, serves several."""
    places = [path, *(folder / "conftest.py" for folder in path.parents)]
    texts = [decode(content, p) for p in places if (content := repository.read(p)) is not None]
    overridden = {"camera_detector", *(n for text in texts for n in _OVERRIDDEN.findall(text))}
    return any(
        isinstance(node, FUNCTIONS)
        and node.name in overridden
        and re.search(rf"\b{node.name}\b", source)
        and any(_SHARED_FIXTURE.search(ast.unparse(d)) for d in node.decorator_list)
        for text in texts
        for node in ast.walk(ast.parse(text))
    )


def _source_of(repository: Repository, nodeid: str) -> tuple[range, str]:
    """Return the lines of a test, and their text."""
    path, *names = nodeid.partition("[")[0].split("::")
    content = repository.read(Path(path))
    if content is None:
        return range(0), ""
    text = decode(content, Path(path))
    node: ast.AST = ast.parse(text)
    for name in names:
        inside = getattr(node, "body", ())
        node = next((n for n in inside if getattr(n, "name", None) == name), node)
    if not isinstance(node, FUNCTIONS):
        return range(0), ""
    lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return lines, ast.get_source_segment(text, node) or ""
