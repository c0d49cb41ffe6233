"""Services composed of pieces that start something, and of steps by which they end it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import queue
import subprocess
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import paho.mqtt.client as mqtt

FOREVER = 600.0

FORK = multiprocessing.get_context("fork")
"""Spawned processes would import the suite, which takes longer than all of the rest."""


class Composed:
    """A service that is made of ``pieces``, and is ended by ``steps``."""

    pieces: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.running = True
        self.polls = 0
        self.threads: list[threading.Thread] = []
        self.executors: list[Any] = []
        self.clients: list[mqtt.Client] = []
        self.programs: list[subprocess.Popen[bytes]] = []
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.loop_runs = threading.Event()
        self.never = threading.Event()
        for piece in self.pieces:
            getattr(self, piece)()

    def poll_once(self) -> None:
        """Count, and publish that."""
        self.polls += 1
        for client in self.clients:
            client.publish("composed/polls", str(self.polls))

    # What its threads do

    def poll(self) -> None:
        while self.running:
            self.poll_once()
            time.sleep(0.01)

    def sleep(self) -> None:
        time.sleep(FOREVER)

    def work_without_pause(self) -> None:
        while True:
            sum(range(100))

    def survive_errors(self) -> None:
        while True:
            with contextlib.suppress(Exception):
                time.sleep(FOREVER)

    def wait(self) -> None:
        self.never.wait()

    def block_in_c(self) -> None:
        queue.SimpleQueue[int]().get()

    def await_a_program(self) -> None:
        subprocess.run(["sleep", str(FOREVER)], check=False)

    def serve_a_client(self) -> None:
        self.client().loop_forever()

    def serve_a_client_by_hand(self) -> None:
        client = self.client()
        while self.running:
            client.loop(0.05)

    # Its pieces

    def thread(self, target: Callable[[], object], *, daemon: bool = False) -> None:
        self.threads.append(threading.Thread(target=target, daemon=daemon))
        self.threads[-1].start()

    def thread_that_polls(self) -> None:
        self.thread(self.poll)

    def thread_that_sleeps(self) -> None:
        self.thread(self.sleep)

    def thread_that_works(self) -> None:
        self.thread(self.work_without_pause)

    def thread_that_survives(self) -> None:
        self.thread(self.survive_errors, daemon=True)

    def thread_that_waits(self) -> None:
        self.thread(self.wait)

    def thread_in_c(self) -> None:
        self.thread(self.block_in_c)

    def daemon_in_c(self) -> None:
        self.thread(self.block_in_c, daemon=True)

    def thread_behind_a_program(self) -> None:
        self.thread(self.await_a_program)

    def thread_with_a_client(self) -> None:
        self.thread(self.serve_a_client)

    def thread_with_a_client_by_hand(self) -> None:
        self.thread(self.serve_a_client_by_hand)

    def thread_with_a_loop(self) -> None:
        async def live() -> None:
            self.loops.append(asyncio.get_running_loop())
            self.loop_runs.set()
            with contextlib.suppress(asyncio.CancelledError):
                while True:
                    self.poll_once()
                    await asyncio.sleep(0.01)

        self.thread(lambda: asyncio.run(live()))

    def timer(self) -> None:
        self.threads.append(threading.Timer(FOREVER, self.poll_once))
        self.threads[-1].start()

    def timer_again_and_again(self) -> None:
        def again() -> None:
            self.poll_once()
            timer = threading.Timer(0.01, again)
            self.threads.append(timer)
            timer.start()

        again()

    def executor(self, call: Callable[[], object]) -> None:
        self.executors.append(ThreadPoolExecutor(1))
        for _ in range(3):
            self.executors[-1].submit(call)

    def executor_that_sleeps(self) -> None:
        self.executor(self.sleep)

    def executor_in_c(self) -> None:
        self.executor(self.block_in_c)

    def executor_that_polls(self) -> None:
        self.executor(self.poll)

    def process_pool(self) -> None:
        self.executors.append(ProcessPoolExecutor(1, mp_context=FORK))
        self.executors[-1].submit(time.sleep, FOREVER)

    def pool_of_multiprocessing(self) -> None:
        self.pool = FORK.Pool(1)
        self.pool.apply_async(time.sleep, [FOREVER])

    def process(self) -> None:
        self.child = FORK.Process(target=time.sleep, args=[FOREVER])
        self.child.start()

    def program(self) -> None:
        self.programs.append(subprocess.Popen(["sleep", str(FOREVER)]))

    def client(self) -> mqtt.Client:
        if hasattr(mqtt, "CallbackAPIVersion"):
            client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        else:
            client = mqtt.Client()
        client.on_connect = lambda client, *_rest: client.subscribe("composed/commands")
        client.on_message = lambda *_args: self.poll_once()
        host, port = os.environ["MQTT_BROKER"], int(os.environ["MQTT_PORT"])
        client.will_set("composed/state", "gone", retain=True)
        client.connect(host, port)
        self.clients.append(client)
        return client

    def client_with_a_thread(self) -> None:
        self.client().loop_start()

    def client_without_a_loop(self) -> None:
        self.client()

    def finalizer(self) -> None:
        client = self.client()
        client.loop_start()
        weakref.finalize(self, client.loop_stop)

    # The steps of its end

    def tell(self) -> None:
        self.running = False

    def join(self) -> None:
        for thread in self.threads:
            thread.join()

    def join_briefly(self) -> None:
        for thread in self.threads:
            thread.join(0.05)

    def cancel_timers(self) -> None:
        for thread in self.threads:
            if isinstance(thread, threading.Timer):
                thread.cancel()

    def shut_down(self) -> None:
        for executor in self.executors:
            executor.shutdown(wait=True)

    def shut_down_without_waiting(self) -> None:
        for executor in self.executors:
            executor.shutdown(wait=False)

    def stop_clients(self) -> None:
        for client in self.clients:
            client.disconnect()
            client.loop_stop()

    def disconnect(self) -> None:
        for client in self.clients:
            client.disconnect()

    def terminate(self) -> None:
        for program in self.programs:
            program.terminate()
            program.wait()

    def cancel_tasks(self) -> None:
        for loop in self.loops:
            with contextlib.suppress(RuntimeError):  # it has ended
                for task in asyncio.all_tasks(loop):
                    loop.call_soon_threadsafe(task.cancel)

    def pause(self) -> None:
        time.sleep(0.5)

    def hang(self) -> None:
        self.never.wait()

    def hang_in_c(self) -> None:
        self.block_in_c()

    def fail(self) -> None:
        raise RuntimeError("as it is to be")


PIECES = (
    "thread_that_polls thread_that_sleeps thread_that_works thread_that_survives "
    "thread_that_waits thread_in_c daemon_in_c thread_behind_a_program thread_with_a_client "
    "thread_with_a_client_by_hand thread_with_a_loop timer timer_again_and_again "
    "executor_that_sleeps executor_in_c executor_that_polls process_pool "
    "pool_of_multiprocessing process program client_with_a_thread client_without_a_loop finalizer"
).split()

OUT_OF_REACH = {"thread_in_c", "daemon_in_c", "thread_that_works", "thread_behind_a_program"}
"""Threads that an interruption alone does not reach, or not for sure in time."""

STEPS = (
    "tell join join_briefly cancel_timers shut_down shut_down_without_waiting stop_clients "
    "disconnect terminate cancel_tasks pause hang hang_in_c"
).split()

FAIL = "fail"


class Plain(Composed):
    """Ends itself by a method."""

    def stop(self) -> None:
        """Take the steps."""
        for step in self.steps:
            getattr(self, step)()


class Asynchronous(Composed):
    """Ends itself by a coroutine."""

    async def stop(self) -> None:
        """Take the steps, two of them in another thread, and wait."""
        for number, step in enumerate(self.steps):
            if number % 2:
                await asyncio.get_running_loop().run_in_executor(None, getattr(self, step))
            else:
                getattr(self, step)()
                await asyncio.sleep(0)


class Deleted(Composed):
    """Ends itself as it is collected."""

    def __del__(self) -> None:
        """Stop what can be stopped in there."""
        self.stop_clients()


class Managed(Composed):
    """Ends itself as a context manager, too."""

    def __enter__(self) -> Managed:
        """Do nothing."""
        return self

    def __exit__(self, *_exc_info: object) -> None:
        """Take the steps."""
        for step in self.steps:
            getattr(self, step)()

    def close(self) -> None:
        """Leave it."""
        self.__exit__()


KINDS: dict[str, type[Composed]] = {
    kind.__name__: kind for kind in (Plain, Asynchronous, Deleted, Managed)
}


def act(service: Any, actions: tuple[str, ...], client: mqtt.Client) -> None:
    """Do with a service what a test does."""
    for action in actions:
        if action == "enable":
            service.test_enable_background_tasks()
            for piece in service.pieces:
                # Interrupted before that, asyncio.run() would leave its loop unclosed.
                assert piece != "thread_with_a_loop" or service.loop_runs.wait(5)
        elif action == "disable":
            service.test_disable_background_tasks()
        elif action == "poll":
            service.poll_now()
        else:
            client.publish("composed/commands", action, qos=1).wait_for_publish(5)


ACTIONS = {
    "nothing": (),
    "polls": ("poll",),
    "commands": ("on", "off"),
    "runs it": ("enable", "on"),
    "runs it twice": ("enable", "disable", "poll", "enable"),
    "ends what it runs": ("enable", "on", "disable"),
}
