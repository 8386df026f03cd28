"""The server as a process: starting, stopping, being killed, and the sentences when it cannot start."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controlplane.app import run_until
from controlplane.errors import ServerError
from controlplane.settings import Component, ServerSettings
from kubeapi.client import Client
from kubeapi.errors import KubeAPIError
from kubeapi.kubeconfig import ClientConfig, read_kubeconfig
from kubeapi.resources import CONFIG_MAPS, NAMESPACES

ROOT = Path(__file__).parents[4]
PROGRAM = """
import sys
from pathlib import Path
from controlplane.app import run_server_process
from controlplane.settings import Component, ServerSettings
run_server_process(ServerSettings(
    data_dir=Path(sys.argv[1]), bind_address=sys.argv[2], secure_port=int(sys.argv[3]),
    advertise_address="127.0.0.1", components=(Component.APISERVER,),
))
"""


def choose_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(
    directory: Path, port: int, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(directory), "127.0.0.1", str(port)],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stderr=subprocess.DEVNULL,
    )


@contextmanager
def notify_socket(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(30)
        yield listener


def build_settings(directory: Path, port: int) -> ServerSettings:
    return ServerSettings(
        data_dir=directory,
        bind_address="127.0.0.1",
        secure_port=port,
        components=(Component.APISERVER,),
    )


def read_config(directory: Path) -> ClientConfig:
    return read_kubeconfig(directory / "kubeconfig" / "admin.yaml")


async def write_until_killed(config: ClientConfig, child: subprocess.Popen[bytes], count: int) -> list[str]:
    """The names of config maps whose creation was acknowledged before the server was killed."""
    acknowledged: list[str] = []

    async def write(client: Client, number: int) -> None:
        for n in itertools.count():
            name = f"m-{number}-{n}"
            await client.create(CONFIG_MAPS, {"metadata": {"name": name}, "data": {"n": str(n)}}, "default")
            acknowledged.append(name)
            if len(acknowledged) == count:
                child.send_signal(signal.SIGKILL)

    async with asyncio.timeout(60), Client(config, user_agent="test") as client:
        results = await asyncio.gather(*(write(client, n) for n in range(8)), return_exceptions=True)
    assert all(isinstance(result, KubeAPIError) for result in results), results
    return acknowledged


def test_nothing_acknowledged_is_lost_to_sigkill(tmp_path: Path) -> None:
    port = choose_port()
    with notify_socket(tmp_path / "notify") as notified:
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        child = start_server(tmp_path / "data", port, environment)
        assert notified.recv(100) == b"READY=1"
        config = read_config(tmp_path / "data")
        acknowledged = asyncio.run(write_until_killed(config, child, 100))
        assert child.wait(10) == -signal.SIGKILL
        assert len(acknowledged) >= 100
        child = start_server(tmp_path / "data", port, environment)
        assert notified.recv(100) == b"READY=1"

        async def list_names() -> set[str]:
            async with Client(read_config(tmp_path / "data"), user_agent="test") as client:
                return {each.metadata.name for each in (await client.list(CONFIG_MAPS, "default")).items}

        assert set(acknowledged) <= asyncio.run(list_names())
        child.terminate()
        assert notified.recv(100) == b"STOPPING=1"
        assert child.wait(20) == 0


def test_a_second_server_on_the_same_data_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"

    def read_files() -> dict[str, bytes]:
        places = (data / "kubeconfig", data / "pki")
        return {
            str(path): path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()
        }

    with notify_socket(tmp_path / "notify") as notified:
        first = start_server(data, choose_port(), {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert notified.recv(100) == b"READY=1"
        before = read_files()
        second = start_server(data, choose_port())
        assert second.wait(20) != 0
        assert read_files() == before
        first.terminate()
        assert first.wait(20) == 0


def test_sockets_that_were_handed_over_are_served(tmp_path: Path) -> None:
    with socket.socket() as listener, notify_socket(tmp_path / "notify") as notified:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        launcher = (
            "import os, socket, sys;"
            f"os.dup2({listener.fileno()}, 3); os.set_inheritable(3, True);"
            "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()));"
            "os.execv(sys.executable, [sys.executable, '-c', *sys.argv[1:]])"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", launcher, PROGRAM, str(tmp_path / "data"), "", "6443"],
            cwd=ROOT,
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            pass_fds=(listener.fileno(),),
        )
        assert notified.recv(100) == b"READY=1"
        config = read_config(tmp_path / "data")
        handed = ClientConfig(
            server=f"https://127.0.0.1:{port}",
            ca_data=config.ca_data,
            client_certificate_data=config.client_certificate_data,
            client_key_data=config.client_key_data,
        )

        async def read_namespace() -> str:
            async with Client(handed, user_agent="test") as client:
                return (await client.get(NAMESPACES, "default")).metadata.name

        assert asyncio.run(read_namespace()) == "default"
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 0


async def test_it_starts_within_the_time_promised_and_stops_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Processor time: what the server does itself, however busy the machine is.
    started = time.process_time()
    with notify_socket(tmp_path / "notify") as notified:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        running = asyncio.ensure_future(run_until(build_settings(tmp_path / "data", choose_port()), stop))
        assert await loop.run_in_executor(None, notified.recv, 100) == b"READY=1"
        assert time.process_time() - started < 1.5
        async with Client(read_config(tmp_path / "data"), user_agent="test") as client:
            assert (await client.request("GET", "/readyz")).status == 200
        stop.set()
        async with asyncio.timeout(20):
            await running


async def refusal(settings: ServerSettings) -> str:
    with pytest.raises(ServerError) as refused:
        await run_until(settings, asyncio.Event())
    return str(refused.value)


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = await refusal(build_settings(tmp_path, port))
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in said


async def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = await refusal(build_settings(tmp_path / "file" / "data", choose_port()))
    assert "choose another --data-dir" in said


async def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"no database" * 1000)
    said = await refusal(build_settings(tmp_path, choose_port()))
    assert "is damaged" in said
    assert "restore it from a backup" in said


async def test_a_malformed_network_is_named(tmp_path: Path) -> None:
    settings = ServerSettings(data_dir=tmp_path, service_cidr="10.96.0.0/99")
    assert "--service-cidr '10.96.0.0/99' is not a network" in await refusal(settings)


async def test_the_api_server_cannot_be_left_out(tmp_path: Path) -> None:
    settings = ServerSettings(data_dir=tmp_path, components=(Component.SCHEDULER,))
    assert "--components must name apiserver" in await refusal(settings)
