"""A bounded table of what is costly to make: the least recently used goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Recent:
    """At most `most` values, each made when its key is first asked for. Any thread may ask."""

    def __init__(self, most: int):
        self.most = most
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self):
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of `key`; `make()` where there is none. Two threads may make it at once, and share the first then."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            value = self._values.setdefault(key, value)
            dropped = [self._values.popitem(last=False) for _ in range(len(self._values) - self.most)]
        del dropped  # outside of the lock: what goes with a value may ask again
        return value
