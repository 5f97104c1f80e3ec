"""Keeping to a server's limits: requests and tokens a minute, and pauses that it asks for."""

import threading
from collections.abc import Callable


class Pace:
    """Gives each request its time, evenly: n a minute means one every 60/n seconds, no bursts.

    Thread-safe. `clock` is in seconds; waiting is up to the caller.
    """

    def __init__(
        self,
        *,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._request_s = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._token_s = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._clock = clock
        self._next = clock()
        self._lock = threading.Lock()

    def seconds_to_wait(self, tokens: int) -> float:
        """Reserve the next place for a request of about so many tokens; how long to wait for it."""
        with self._lock:
            now = self._clock()
            place = max(now, self._next)
            self._next = place + max(self._request_s, tokens * self._token_s)
            return place - now

    def settle(self, *, reserved: int, used: int) -> None:
        """Correct a reservation by what the request was in the end."""
        with self._lock:
            self._next += (used - reserved) * self._token_s

    def pause(self, seconds: float) -> None:
        """No request before so many seconds have passed."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)
