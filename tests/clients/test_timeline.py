"""How a timeline is put together, whatever the order in which its sources learn of things."""

import enum
import json
import re
import time
from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt_testing.broker.connections import REFUSED, LoggedEvent, logged_events
from mqtt_testing.clients.masking import masked
from mqtt_testing.clients.timeline import Answered, Arrived, Published, publishers, timeline
from mqtt_testing.wire.packets import LONGEST_TOPIC, MQTTMessage

OWN = ("lamp", "door")  # clients of this process
OTHERS = ("robot", "cloud")
ANYBODYS = "the same"  # of all that publish it
LATENCY = 0.0005


class Word(str, enum.Enum):
    """What ``str()`` makes something else of."""

    ON = "on"


def will_of(client):
    return MQTTMessage(f"state/{client}", b"gone", 1, retain=True)


class Truth(NamedTuple):
    """What happened."""

    at: float
    client: str
    what: str  # connected, refused, dropped, or a payload


@st.composite
def truths(draw):
    """Draw what some clients did, in order."""
    at, connected, happened = 0.0, set(), []
    for _ in range(draw(st.integers(0, 25))):
        at += draw(st.sampled_from([0.001, 0.01, 0.3, 1.0]))
        client = draw(st.sampled_from([*OWN, *OTHERS]))
        if client not in connected:
            what = draw(
                st.sampled_from(["connected", "refused"] if client in OWN else ["connected"])
            )
            connected |= {client} if what == "connected" else set()
        else:
            what = draw(st.sampled_from([f"of {client}", ANYBODYS, "dropped"]))
            connected -= {client} if what == "dropped" else set()
        happened.append(Truth(at, client, what))
    return happened


def known_of(happened, start):
    """Return what the shared connection, this process and the log know of it."""
    arrived, published, answered, log = [], [], [], []
    for port, (at, client, what) in enumerate(happened, 1):
        seen = start[0] + at + LATENCY
        logged = {"connected": port, "refused": REFUSED, "dropped": 0}.get(what)
        if logged is not None:
            name = "<unknown>" if what == "refused" else client
            log.append(LoggedEvent(int(start[1] + at), logged, name, what))
        if what in ("connected", "refused"):
            answer = Answered(0, seen, client, port, 5 * (what == "refused"), will_of(client))
            answered += [answer] if client in OWN else []
        else:
            usual = MQTTMessage("t", what.encode(), 0, retain=False)
            message = will_of(client) if what == "dropped" else usual
            arrived.append((seen, message))
            if client in OWN and what != "dropped":
                published.append(Published(0, start[0] + at, client, "t", what, 0, retain=False))
    kinds = Counter(message[:4] for _, message in arrived)
    return Arrived(arrived, kinds, is_all=True), published, answered, [log]


@given(truths(), st.floats(0, 0.999))
def test_everything_is_there_once_at_its_time_and_named_truly(happened, fraction):
    start = (time.monotonic() - 60, 1_000_000 + fraction)
    sources = known_of(happened, start)
    entries = timeline(*sources, start)
    messages = [e for e in entries if e.what.startswith(("t:", "state/"))]
    logged = [e for e in entries if e not in messages]
    told = [t for t in happened if t.what not in ("connected", "refused")]
    assert len(messages) == len(told)
    for entry, truth in zip(messages, told):
        assert (truth.what == "dropped") == entry.what.startswith("state")
        name = f"{truth.client} (will)" if truth.what == "dropped" else truth.client
        assert (name if truth.client in OWN else "?") in entry.who.split(" or ")
        assert entry.begin == entry.end == start[0] + truth.at + LATENCY
    came_and_went = [t for t in happened if t.what in ("connected", "refused", "dropped")]
    assert [(e.who, e.what) for e in logged] == [(t.client, t.what) for t in came_and_went]
    for entry, truth in zip(logged, came_and_went):
        assert entry.begin - LATENCY <= start[0] + truth.at <= entry.end + 1e-6
    for client in OWN:
        shown = [entry.what for entry in entries if entry.who == client]
        assert [
            re.sub(r"t: b'(.*)' .*", r"\1", what) for what in shown if ANYBODYS not in what
        ] == [what for _, who, what in happened if who == client and what != ANYBODYS]


class TestLog:
    def test_tells_of_clients_but_not_of_our_own(self):
        log = """
1795838998: New connection from 127.0.0.1:51816 on port 43499.
1795838998: New client connected from 127.0.0.1:51816 as ready-3502 (p2, c1, k10, u'ann').
1795838998: Client ready-3502 closed its connection.
1795838998: Client <unknown> disconnected, not authorised.
1795838998: New connection from 127.0.0.1:51817 on port 43499.
1795838998: Client <unknown> closed its connection.
1795838999: New client connected from 127.0.0.1:56403 as mqtt-test-observer-1 (p5, c1, k60).
2026-11-28T01:02:03: New client connected from 127.0.0.1:44233 as Client 1 (p2, c1, k60).
New client connected from ::1:44234 as lamp (p2, c1, k60).
1795839000: Client Client 1 already connected, closing old connection.
1795839000: Client lamp [127.0.0.1:1] disconnected: exceeded timeout.
1795839000: Client lamp been disconnected by administrative action.
1795839000: Bad socket read/write on client a: lamp: Unknown error.
1795839000: Received PUBLISH from lamp (d0, q0, r0, m0, 'lamp', ... (5 bytes))
"""
        assert logged_events(log) == [
            (1795838998, REFUSED, "<unknown>", "disconnected, not authorised"),
            (0, 44233, "Client 1", "connected"),
            (0, 44234, "lamp", "connected"),
            (1795839000, 0, "Client 1", "already connected, closing old connection"),
            (1795839000, 0, "lamp", "disconnected: exceeded timeout"),
            (1795839000, 0, "lamp", "disconnected by administrative action"),
            (1795839000, 0, "a: lamp", "disconnected: Unknown error"),
        ]

    def test_without_times_still_has_its_order(self):
        events = [LoggedEvent(0, n, "robot", "connected") for n in (1, 2)]
        start = (time.monotonic() - 1, 1_000_000.0)
        entries = timeline(Arrived((), Counter(), is_all=True), [], [], [events], start)
        assert [(e.begin, e.end > start[0]) for e in entries] == [(start[0], True)] * 2

    def test_of_two_refusals_ours_is_not_the_later_one(self):
        start = (time.monotonic() - 60, 1_000_000.0)
        ours = Answered(0, start[0] + 1.5, "lamp", 1, 5, None)
        events = [LoggedEvent(1_000_000 + n, REFUSED, "<unknown>", "refused") for n in (1, 9)]
        entries = timeline(Arrived((), Counter(), is_all=True), [], [ours], [events], start)
        assert [entry.who for entry in entries] == ["lamp", "<unknown>"]


class TestPublishers:
    def test_may_be_several_where_they_say_the_same(self):
        message = MQTTMessage("t", b"1", 0, retain=False)
        notes = [Published(0, 0.0, who, "t", 1, 0, retain=False) for who in ("a", "b", "a")]
        assert publishers([message] * 3, notes, []) == ["a or b"] * 3
        assert publishers([message] * 4, notes, []) == ["a or b or ?"] * 4

    def test_payloads_are_what_the_broker_gets(self):
        payloads = [None, "ü", b"\xff", 1, 1.5, "", Word.ON]
        notes = [Published(0, 0.0, "a", "t", p, 0, retain=False) for p in payloads]
        sent = [b"", "ü".encode(), b"\xff", b"1", b"1.5", b"", b"on"]
        assert [note.message.payload for note in notes] == sent

    def test_what_an_alias_stands_for_is_not_missing(self):
        note = Published(0, 1.0, "a", "", "1", 1, retain=False)  # by an alias of MQTT 5
        start = (time.monotonic(), time.time())
        assert timeline(Arrived((), Counter(), is_all=True), [note], [], [], start) == []


IN_JSON = json.dumps({"password": "h1dden"})


class TestMasking:
    @pytest.mark.parametrize(
        ("payload", "shown"),
        [
            ('{"password": {"is": "h1dden"}}', '{"password": ***'),
            ('{"on": 1, "tokens": ["h1dden", "h1dden"]}', '{"on": 1, "tokens": ***'),
            ('{"secret_key": "h1dden"}', '{"secret_key": "***"}'),
            ("{'passphrase': 'h1\"dden'}", "{'passphrase': '***'}"),
            ('{"password": "it\'s h1dden", "on": 1}', '{"password": "***", "on": 1}'),
            (json.dumps({"pwd": 'a"h1dden', "on": 1}), '{"pwd": "***", "on": 1}'),
            ('{"a": "b", "token":\n "h1\ndden"}', '{"a": "b", "token":\n "***"}'),
            (json.dumps([IN_JSON]), r'["{\"password\": \"***\"}"]'),
            (json.dumps([json.dumps([IN_JSON])]), r'["[\"{\\\"password\\\": \\\"***\\\"}\"]"]'),
            ("X-Api-Key: h1dden", "X-Api-Key: ***"),
            ("password=a@h1dden&on=1", "password=***&on=1"),
            ("rtsp://ann:a@h1dden@camera/1", "rtsp://ann:***@camera/1"),
            ("rtsp://a:h1dden@b/1,rtsp://a:h1dden@b/2", "rtsp://a:***@b/1,rtsp://a:***@b/2"),
            ("rtsp://camera:554/1?on=1@2", "rtsp://camera:554/1?on=1@2"),
            ('{"token": "", "on": 1}', '{"token": "", "on": 1}'),
        ],
    )
    def test_hides_all_of_a_secret_and_nothing_else(self, payload, shown):
        message = MQTTMessage("t", payload.encode(), 0, retain=False)
        assert masked(message) == f"t: {shown.encode()!r} (QoS 0)"

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("camera/rtsp://ann:h1dden@camera", "camera/rtsp://ann:***@camera"),
            ("token=h1dden", "token=***"),
            ("Tür/שלום/😀", "Tür/שלום/😀"),
            ("a\x1b[31m\r\nb\u2028\u202ec\0", r"a\x1b[31m\r\nb\u2028\u202ec\x00"),
            ("t" * LONGEST_TOPIC, "t" * LONGEST_TOPIC),
            ("t" * 65535, "t" * LONGEST_TOPIC + "..."),
        ],
    )
    def test_of_a_topic_is_one_line_without_secrets(self, text, shown):
        message = MQTTMessage(text, b"", 0, retain=False)
        assert masked(message) == f"{shown}: b'' (QoS 0)"
