"""What a test saw, as its report shows it: who published what, who came and went, and when."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..broker.connections import REFUSED, LoggedEvent, logged_events
from ..broker.external import SessionBroker
from ..originals import time
from ..wire.packets import MQTTMessage, printable
from . import traffic
from .admission import MQTTConnectionError
from .limits import LATEST, REPORT_PATIENCE
from .listeners import listeners_of
from .masking import masked, without_secrets
from .pool import SharedMQTTPool

LONGEST_NAME = 24


class Published(NamedTuple):
    """A message that a client has accepted for publication, its payload as it was given."""

    number: int
    time: float
    client: str
    topic: str
    payload: Any
    qos: int
    retain: bool

    @property
    def message(self) -> MQTTMessage:
        """What the broker gets to see."""
        payload = "" if self.payload is None else self.payload
        if not isinstance(payload, bytes):  # the str() of an enumeration's string is another
            payload = str.encode(payload if isinstance(payload, str) else str(payload))
        topic = str.encode(self.topic).decode()
        return MQTTMessage(topic, payload, int(self.qos), bool(self.retain))


class Answered(NamedTuple):
    """The CONNACK of a client; its code is 0 where the broker lets it in."""

    number: int
    time: float
    client: str
    port: int
    code: int
    will: MQTTMessage | None


class Entry(NamedTuple):
    """Something that happened between two times, in seconds of ``time.monotonic()``."""

    begin: float
    end: float
    who: str
    what: str


class Arrived(NamedTuple):
    """What the shared connection has seen of a test."""

    latest: Sequence[tuple[float, MQTTMessage]]
    """The latest messages, each with its time."""

    kinds: Counter[tuple[object, ...]]
    """How many of a kind there were in all."""

    is_all: bool
    """Whether what was published and is not in there has not arrived."""


def describe_traffic(brokers: Mapping[SessionBroker, int]) -> str:
    """Return the latest lines of the test's timeline; empty where it has none.

    Args:
        brokers: those that the test uses, each with where its log ended when the test began.
    """
    if not brokers and not traffic.published:
        return ""
    used = {(broker.host, broker.port) for broker in brokers}
    pools = sorted(
        listeners_of(SharedMQTTPool), key=lambda p: (p.endpoint.host, p.endpoint.port) in used
    )
    arrived = _look_at(pools[-1]) if pools else Arrived((), Counter(), is_all=False)
    logs = [logged_events(broker.log_since(position)) for broker, position in brokers.items()]
    name = _namer(brokers)
    published = [
        Published(number, at, name(client), *rest)
        for number, at, client, *rest in traffic.published.copy()
    ]
    answered = [
        Answered(number, at, name(client), *rest)
        for number, at, client, *rest in traffic.answered.copy()
    ]
    entries = timeline(arrived, published, answered, logs, traffic.start)
    lines = _lines(entries[-LATEST:])
    count = len(entries) + sum(arrived.kinds.values()) - len(arrived.latest)
    if published and not pools:
        count += published[0].number  # so many are not kept
    if answered and not any(logs):
        count += answered[0].number
    if count > len(lines):
        lines.insert(0, f"({count - len(lines)} earlier ones)")
    return "\n".join(lines)


def _namer(brokers: Iterable[SessionBroker]) -> Callable[[str | int], str]:
    """Return what names a client by its id, or by the port of one that has none."""

    @functools.cache
    def ids() -> dict[int, str]:  # the whole log is read only if a client has none
        logged = [event for broker in brokers for event in logged_events(broker.log)]
        return {event.port: event.client_id for event in logged if event.port > 0}

    def name(client: str | int) -> str:
        if isinstance(client, int):
            return ids().get(client, f"port {client}")  # of a broker whose log is not ours to read
        return client or "no client id"

    return name


def _look_at(pool: SharedMQTTPool) -> Arrived:
    is_all = not pool.other_brokers
    try:
        pool.barrier(REPORT_PATIENCE)
    except MQTTConnectionError:
        is_all = False
    history, start = pool.history, traffic.positions.get(pool.history, 0)
    kinds = Counter(map(_kind, history.since(start)[0]))
    is_all &= not history.dropped_since(start)
    return Arrived(history.timed_since(start), kinds, is_all)


def timeline(
    arrived: Arrived,
    published: Sequence[Published],
    answered: Sequence[Answered],
    logs: Sequence[Sequence[LoggedEvent]],
    start: tuple[float, float],
) -> list[Entry]:
    """Put together what the shared connection, clients of this process and brokers know.

    Args:
        arrived: what the shared connection has seen.
        published: the latest that clients of this process have published.
        answered: how they got in.
        logs: what the brokers have logged.
        start: when the test began, by ``time.monotonic()`` and by ``time.time()``.
    """
    whose = publishers([message for _, message in arrived.latest], published, answered)
    entries = [Entry(at, at, who, masked(m)) for (at, m), who in zip(arrived.latest, whose)]
    spoken = [(entry.end, entry.who) for entry in entries]
    known = defaultdict[int, list[Answered]](list)
    for note in answered:
        known[REFUSED if note.code else note.port].append(note)
    for log in logs:
        entries += placed(log, known, spoken, start)
    entries += [_unlogged(note) for notes in known.values() for note in notes]
    entries += _missing(published, arrived)
    return sorted(entries, key=lambda entry: entry.begin)


def publishers(
    messages: Sequence[MQTTMessage], published: Iterable[Published], answered: Iterable[Answered]
) -> list[str]:
    """Return which clients may have published each of *messages*; ``?`` is one of another process.

    Args:
        messages: what has arrived.
        published: what clients of this process have published.
        answered: the clients that may have published their wills.
    """
    known = defaultdict[object, list[str]](list)
    for note in published:
        known[_kind(note.message)].append(note.client)
    for client in answered:
        if client.will is not None:
            known[_kind(client.will)].append(f"{client.client} (will)")
    often = Counter(map(_kind, messages))
    others = {kind: ["?"] if often[kind] > len(known[kind]) else [] for kind in often}
    return [" or ".join(dict.fromkeys(known[k] + others[k])) for k in map(_kind, messages)]


def placed(
    log: Sequence[LoggedEvent],
    known: Mapping[int, list[Answered]],
    spoken: Sequence[tuple[float, str]],
    start: tuple[float, float],
) -> Iterator[Entry]:
    """Yield what a log says, with the times between which it happened: it has whole seconds.

    A client of this process knows when it got in, and has gone after the last of its messages.

    Args:
        log: the events, in order.
        known: by port, or REFUSED, how the clients of this process got in; taken from there.
        spoken: the messages, each as its time and who has published it.
        start: when the test began, by ``time.monotonic()`` and by ``time.time()``.
    """
    zero, end = start[0] - start[1], time.monotonic()
    windows = list[tuple[LoggedEvent, str, float, float]]()
    for event in reversed(log):
        notes = known.get(event.port, []) if event.port else []
        note = notes.pop() if notes and notes[-1].time >= zero + event.second else None
        latest = note.time if note else zero + event.second + 1 if event.second else end
        end = max(start[0], min(end, latest))
        who = note.client if note else event.client_id
        windows.append((event, who, end if note else zero + event.second, end))
    begin = start[0]
    for event, who, earliest, end in reversed(windows):
        own = [at for at, speaker in spoken if speaker == who and at <= end and not event.port]
        begin = min(end, max(begin, earliest, *own))
        yield Entry(begin, end, who, event.what)


def _missing(published: Iterable[Published], arrived: Arrived) -> Iterator[Entry]:
    """Yield what clients of this process have published and the shared connection has not seen."""
    left = arrived.kinds.copy()
    for note in published:
        message = note.message
        left[_kind(message)] -= 1
        is_told = message.topic and message.topic[0] != "$"  # it sees none of $, and no alias
        if left[_kind(message)] < 0 and is_told:
            remark = ", which has not arrived" if arrived.is_all else ""
            yield Entry(note.time, note.time, note.client, masked(message) + remark)


def _unlogged(note: Answered) -> Entry:
    """Return how a client of this process got in where no log says it, as of brokers of others."""
    what = f"refused, code {note.code}" if note.code else "connected"
    return Entry(note.time, note.time, note.client, what)


def _kind(message: MQTTMessage) -> tuple[object, ...]:
    return message[:4]  # without the properties


def _lines(entries: Sequence[Entry]) -> list[str]:
    shown = [without_secrets(entry.who.encode(errors="replace")).decode() for entry in entries]
    names = [printable(name, LONGEST_NAME) for name in shown]
    width = max(map(len, names), default=0)
    lines = []
    for entry, name in zip(entries, names):
        begin, end = (f"{1000 * (at - traffic.start[0]):.0f}" for at in (entry.begin, entry.end))
        when = begin if begin == end else f"{begin}-{end}"
        lines.append(f"{when:>9}  {name:<{width}}  {entry.what}")
    return lines
