# SPDX-License-Identifier: MIT
"""What bench/beside.lua measures in fern, in eventlet with futurist, or in gevent.

    python3 bench/beside.py eventlet|gevent

Prints one line a figure: its name, a tab, nanoseconds of CPU time for one. Exits
with 3 if the library is not installed."""
import sys
import time

ROUNDS = 5


def measured(count, work):
    """Nanoseconds for each of `count` things that work(count) does; the median."""
    costs = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work(count)
        costs.append((time.process_time() - start) / count * 1e9)
    return sorted(costs)[ROUNDS // 2]


def same(item):
    return item


def switch(spawn, sleep, join):
    def work(count):
        def turn():
            for _ in range(count // 100):
                sleep(0)
        join([spawn(turn) for _ in range(100)])
    return work


def spawn_join(spawn, join):
    def work(count):
        for _ in range(count):
            join([spawn(same, 1)])
    return work


def channel(spawn, join, there, back):
    def work(count):
        def answer():
            for _ in range(count):
                back.put(there.get())
        answerer = spawn(answer)
        for i in range(count):
            there.put(i)
            back.get()
        join([answerer])
    return work


def semaphore(semaphore):
    def work(count):
        for _ in range(count):
            semaphore.acquire()
            semaphore.release()
    return work


def wake(spawn, sleep, join, new_event, send):
    def work(count):
        event = new_event()
        waiters = [spawn(event.wait) for _ in range(count)]
        sleep(0)
        send(event)
        join(waiters)
    return work


def imap(pool):
    def work(count):
        for _ in pool.imap(same, range(count)):
            pass
    return work


def submit(executor):
    def work(count):
        for i in range(count):
            executor.submit(same, i).result()
    return work


def figures_of_eventlet():
    import eventlet
    from eventlet import event, queue, semaphore as semaphores
    import futurist

    def join(threads):
        for thread in threads:
            thread.wait()

    spawn, sleep = eventlet.spawn, eventlet.sleep
    yield "switch", 100000, switch(spawn, sleep, join)
    yield "spawn and join", 20000, spawn_join(spawn, join)
    yield "channel", 20000, channel(spawn, join, queue.LightQueue(0), queue.LightQueue(0))
    yield "semaphore", 200000, semaphore(semaphores.Semaphore(1))
    yield "wake", 1000, wake(spawn, sleep, join, event.Event, lambda e: e.send(1))
    yield "imap", 20000, imap(eventlet.GreenPool(100))
    yield "executor", 20000, submit(futurist.GreenThreadPoolExecutor(max_workers=100))


def figures_of_gevent():
    import gevent
    from gevent import event, lock, pool, queue

    spawn, sleep, join = gevent.spawn, gevent.sleep, gevent.joinall
    yield "switch", 100000, switch(spawn, sleep, join)
    yield "spawn and join", 20000, spawn_join(spawn, join)
    yield "channel", 20000, channel(spawn, join, queue.Channel(), queue.Channel())
    yield "semaphore", 200000, semaphore(lock.Semaphore(1))
    yield "wake", 1000, wake(spawn, sleep, join, event.Event, lambda e: e.set())
    yield "imap", 20000, imap(pool.Pool(100))
    workers = pool.Pool(100)
    workers.submit = lambda fn, item: Result(workers.spawn(fn, item))
    yield "executor", 20000, submit(workers)


class Result:
    """gevent has no executor: a thread of a pool, and its value."""

    def __init__(self, thread):
        self.result = thread.get


def main(library):
    try:
        figures = list({"eventlet": figures_of_eventlet, "gevent": figures_of_gevent}[library]())
    except ImportError:
        sys.exit(3)
    for name, count, work in figures:
        print(name, "%.4g" % measured(count, work), sep="\t", flush=True)


main(sys.argv[1])
