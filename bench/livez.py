"""Asks /livez at a steady pace, from a process without mlx: `python -m bench.livez URL COUNT`.

Prints a list of seconds. A request that has to wait for the answer before it counts from when it
was due, so that one long gap of the server's loop is felt by all who fall into it.
"""

import http.client
import json
import sys
import time
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

PACE_S: Final = 0.004


def latencies_s(url: str, count: int) -> list[float]:
    """Ask so many times, on one connection."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    seconds = []
    due = time.perf_counter()
    for _ in range(count):
        due += PACE_S
        early = due - time.perf_counter()
        if early > 0:
            time.sleep(early)
            due = time.perf_counter()
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        answer.read()
        if answer.status != HTTPStatus.OK:
            raise RuntimeError(answer.status)
        seconds.append(time.perf_counter() - due)
    return seconds


if __name__ == "__main__":
    print(json.dumps(latencies_s(sys.argv[1], int(sys.argv[2]))))
