"""A bounded table forgets the least recently used, and never gives two values for one key at a time."""

import threading

from sod2jax.recent import Recent


def test_the_least_recently_used_goes_first():
    made = []
    table = Recent(2)

    def get(key):
        return table.get(key, lambda: made.append(key) or f"value of {key}")

    assert get("a") == "value of a"
    get("b"), get("a"), get("c")
    assert made == ["a", "b", "c"]
    assert len(table) == 2
    get("a")
    assert made == ["a", "b", "c"]
    get("b")
    assert made == ["a", "b", "c", "b"]


def test_a_value_may_ask_while_it_is_made_or_dropped():
    table = Recent(1)

    class Asks:
        def __del__(self):
            table.get("other", object)

    table.get("a", lambda: table.get("inner", Asks) and Asks())
    table.get("b", object)
    assert len(table) == 1


def test_threads_share_one_value():
    table, barrier, found = Recent(4), threading.Barrier(8), []

    def make():
        barrier.wait(10)
        return object()

    threads = [threading.Thread(target=lambda: found.append(table.get("key", make))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1
