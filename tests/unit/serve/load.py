"""Many clients that ask a served model at a given rate, and what became of every request."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from medzoo.runtime.protocol.tensors import HEADER_LENGTH, build_request, parse_response
from medzoo.types import Array


@dataclass
class Outcome:
    """Requests by how they ended ("sent", "right", "wrong", "refused", or a status), seconds that the answered ones
    took, and when in the load (seconds from its begin) they were asked."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """Seconds within which 99 of 100 responses came; of stretches of five seconds the median one, so that what
        else this machine did for some of them does not count."""
        stretches = np.asarray(self.asked) // 5
        seconds = np.asarray(self.seconds)
        return float(np.median([np.percentile(seconds[stretches == one], 99) for one in np.unique(stretches)]))


def load(
    url: str, image: Array, expected: dict[str, Array], *, clients: int, span: float, rate: float | None = None
) -> Outcome:
    """`clients` send requests for `span` seconds, `rate` requests a second together (None: each without a pause).

    A client that is late, because its answer took longer than its turn, asks at once and does not catch up.
    """
    parts = urlsplit(url)
    head, tails = build_request({"image": image}, list(expected))
    body = b"".join([head, *tails])
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    found = Outcome()
    lock = threading.Lock()
    begin = time.perf_counter()
    every = clients / rate if rate else 0.0

    def ask(client: int) -> None:
        own = Outcome()
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        due = begin + every * client / clients
        while (now := time.perf_counter()) < begin + span:
            if now < due:
                time.sleep(due - now)
            due = max(due + every, time.perf_counter())
            own.counts["sent"] += 1
            start = time.perf_counter()
            connection.request("POST", f"/v2/models{parts.path}/infer", body, headers)
            response = connection.getresponse()
            raw = response.read()
            taken = time.perf_counter() - start
            if response.status == 429:
                own.counts["refused"] += 1
            elif response.status != 200:
                own.counts[f"status {response.status}"] += 1
            else:
                length = response.getheader(HEADER_LENGTH)
                answer = parse_response(memoryview(raw), int(length) if length else None)
                right = all(np.allclose(answer[name], value, atol=1e-2) for name, value in expected.items())
                own.counts["right" if right else "wrong"] += 1
                own.seconds.append(taken)
                own.asked.append(start - begin)
        connection.close()
        with lock:
            found.counts.update(own.counts)
            found.seconds.extend(own.seconds)
            found.asked.extend(own.asked)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def overloaded(
    url: str, image: Array, expected: dict[str, Array], *, span: float, queue: int
) -> tuple[Outcome, Outcome, float, float]:
    """One client alone, then 32 at twice the rate that two clients without pause reach.

    Both outcomes, that capacity (requests a second), and the seconds that the 99th percentile of the admitted may
    take: thrice that of one client alone, and the time of a full queue and of the run before it at the rate at which
    requests were answered meanwhile (the clients take their share of this machine).
    """
    alone = load(url, image, expected, clients=1, span=max(2.0, span / 10))
    two = load(url, image, expected, clients=2, span=max(2.0, span / 10))
    capacity = len(two.seconds) / max(2.0, span / 10)
    crowd = load(url, image, expected, clients=32, span=span, rate=2 * capacity)
    return alone, crowd, capacity, 3 * alone.p99 + (queue + 1) * span / len(crowd.seconds)
