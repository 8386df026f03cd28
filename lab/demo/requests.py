"""`python -m lab.demo.requests URL COUNT`: asks a URL COUNT times, each on a connection of its own.

Run inside a node's network namespace. Prints one JSON object: how often each answer came (the web pods say
their names), and how many requests failed.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections import Counter
from urllib.parse import urlsplit


def send_requests(url: str, count: int) -> tuple[Counter[str], int]:
    """How often each answer came, and the number of failures, of `count` requests one after the other."""
    answers: Counter[str] = Counter()
    failures = 0
    for _ in range(count):
        try:
            answers[read_answer(url)] += 1
        except (OSError, http.client.HTTPException):
            failures += 1
    return answers, failures


def read_answer(url: str) -> str:
    """The body of one GET without redirects; OSError or HTTPException when there is no good answer in 5 s."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", parts.path or "/", headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read().decode().strip()
        if response.status != 200:
            raise http.client.HTTPException(f"status {response.status}")
        return body
    finally:
        connection.close()


if __name__ == "__main__":
    answers, failures = send_requests(sys.argv[1], int(sys.argv[2]))
    print(json.dumps({"answers": answers, "failures": failures}))
