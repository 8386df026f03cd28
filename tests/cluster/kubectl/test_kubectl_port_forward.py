"""`kubectl port-forward` to a pod and to a Service: one connection, several, a port nobody has."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException

import pytest

from tests.cluster.kubectl.console import Console
from tests.cluster.kubectl.running_command import RunningCommand

SECONDS = 10


@contextmanager
def forwarding(console: Console, what: str) -> Iterator[tuple[RunningCommand, str]]:
    """The running command, and the URL at which it listens."""
    with console.start(f"port-forward --address=127.0.0.1 {what}") as command:
        port = command.read_until(r"Forwarding from 127\.0\.0\.1:(\d+) -> \d+\n")[1]
        yield command, f"http://127.0.0.1:{port}/"


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        return str(answer.read().decode()).strip()


def test_a_pod_answers_through_it(standing_web: Console) -> None:
    pod = standing_web.run("get pods -l app=web -o name").split()[0]

    with forwarding(standing_web, f"{pod} :8080") as (_, url):
        assert fetch(url) == pod.removeprefix("pod/")
        assert fetch(f"{url}healthz") == "ok"


def test_several_connections_at_once(standing_web: Console) -> None:
    pod = standing_web.run("get pods -l app=web -o name").split()[0]

    with forwarding(standing_web, f"{pod} :8080") as (_, url), ThreadPoolExecutor(8) as workers:
        assert set(workers.map(fetch, [url] * 24)) == {pod.removeprefix("pod/")}


def test_a_service_s_port_leads_to_one_of_its_pods(standing_web: Console) -> None:
    pods = {name.removeprefix("pod/") for name in standing_web.run("get pods -l app=web -o name").split()}

    with forwarding(standing_web, "service/web :80") as (_, url):
        assert fetch(url) in pods


def test_a_port_that_nobody_listens_on_is_said(standing_web: Console) -> None:
    pod = standing_web.run("get pods -l app=web -o name").split()[0]

    with forwarding(standing_web, f"{pod} :81") as (command, url):
        with pytest.raises((urllib.error.URLError, OSError, HTTPException)):
            fetch(url)
        said = command.read_until(r"error forwarding port 81 to pod .*")[0]
    assert re.search("connection refused", said)
