"""What tests leave behind, a function each: what would keep a process for minutes, or for good."""

import asyncio
import functools
import multiprocessing
import queue
import socket
import subprocess
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import paho.mqtt.client as mqtt

KEPT = []  # as a suite's global variables and mocks keep things
HOUR = 3600


def new_client(client_id=""):
    if hasattr(mqtt, "CallbackAPIVersion"):
        return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id)
    return mqtt.Client(client_id)


def sleep_for_ever():
    while True:
        time.sleep(1)


def in_thread(target, *args):
    KEPT.append(threading.Thread(target=target, args=args))
    KEPT[-1].start()


def clients_of_one_id():
    for _ in range(40):
        client = new_client("furnace")
        client.connect("localhost", 1883)
        client.loop_start()
        KEPT.append(client)


def client_in_a_thread_of_its_own():
    client = new_client()
    client.connect("localhost", 1883)
    in_thread(client.loop_forever)


def client_without_a_broker():
    client = new_client()
    client.connect_async("127.0.0.1", 9)
    client.loop_start()
    KEPT.append(client)


def timer():
    threading.Timer(60, print).start()


def thread_in_a_sleep_loop():
    in_thread(sleep_for_ever)


def thread_in_one_sleep():
    in_thread(time.sleep, HOUR)


def thread_at_a_queue():
    in_thread(queue.Queue().get)


def thread_at_a_lock():
    lock = threading.Lock()
    lock.acquire()
    in_thread(lock.acquire)


def thread_at_a_socket():
    listening = socket.create_server(("127.0.0.1", 0))
    KEPT.append(listening)
    in_thread(listening.accept)


def thread_in_a_program():
    in_thread(subprocess.call, ["sleep", "60"])


def busy_executor():
    executor = ThreadPoolExecutor(2)
    for _ in range(4):  # two of them wait for a worker
        executor.submit(time.sleep, HOUR)
    KEPT.append(executor)


def forgotten_executor():
    ThreadPoolExecutor(1).submit(sleep_for_ever)


def executor_of_an_event_loop():
    loop = asyncio.new_event_loop()
    loop.run_in_executor(None, time.sleep, HOUR)
    KEPT.append(loop)


def process_pool(method):
    pool = ProcessPoolExecutor(1, multiprocessing.get_context(method))
    for _ in range(3):
        pool.submit(time.sleep, HOUR)
    KEPT.append(pool)


def forgotten_process_pool():
    ProcessPoolExecutor(1, multiprocessing.get_context("fork")).submit(time.sleep, HOUR)


def pool(method):
    KEPT.append(multiprocessing.get_context(method).Pool(1))
    KEPT[-1].apply_async(time.sleep, [HOUR])


def process(method):
    KEPT.append(multiprocessing.get_context(method).Process(target=time.sleep, args=[HOUR]))
    KEPT[-1].start()


def manager():
    KEPT.append(multiprocessing.get_context("fork").Manager())
    KEPT.append(KEPT[-1].dict())


def program():
    KEPT.append(subprocess.Popen(["sleep", "60"]))


def asyncio_task():
    async def begin():
        KEPT.append(asyncio.ensure_future(asyncio.sleep(HOUR)))
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.close()


def unclosed_loop():
    KEPT.append(asyncio.new_event_loop())


def unclosed_loop_with_a_task():
    loop = asyncio.new_event_loop()
    KEPT.append(loop.create_task(asyncio.sleep(HOUR)))
    loop.run_until_complete(asyncio.sleep(0))


def loop_in_a_thread():
    loop = asyncio.new_event_loop()
    in_thread(loop.run_forever)
    asyncio.run_coroutine_threadsafe(asyncio.sleep(HOUR), loop)


def of_method(leak, method):
    named = functools.partial(leak, method)
    named.__name__ = f"{leak.__name__}-{method}"
    return named


LEAKS = [
    clients_of_one_id,
    client_in_a_thread_of_its_own,
    client_without_a_broker,
    timer,
    thread_in_a_sleep_loop,
    thread_in_one_sleep,
    thread_at_a_queue,
    thread_at_a_lock,
    thread_at_a_socket,
    busy_executor,
    forgotten_executor,
    executor_of_an_event_loop,
    *(
        of_method(leak, method)
        for leak in (process_pool, pool, process)
        for method in ("fork", "spawn", "forkserver")
    ),
    forgotten_process_pool,
    manager,
    asyncio_task,
    unclosed_loop,
    unclosed_loop_with_a_task,
    loop_in_a_thread,
]
PROGRAMS = [program, thread_in_a_program]
