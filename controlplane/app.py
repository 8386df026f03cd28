"""The control plane's composition root: certificates, storage, API server, scheduler, controllers.

IO. Called by the command line. Scheduler and controllers are clients over loopback HTTPS like any other;
one that fails is started again with a back-off, the API server's failure ends the process. Stops on SIGTERM
and SIGINT.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Final

import uvloop
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from controlplane.apiserver.server import ApiServerOptions, serve
from controlplane.apiserver.tls import build_node_tls, build_server_tls
from controlplane.certificates import (
    CertificatePaths,
    CertificatesError,
    PairPaths,
    build_kubeconfig,
    ensure_certificates,
    ensure_signing_key,
    list_server_names,
    write_kubeconfig,
)
from controlplane.errors import ServerError
from controlplane.listening import (
    choose_advertise_address,
    open_listener,
    send_notification,
    take_activated_sockets,
)
from controlplane.settings import Component, ServerSettings
from controlplane.storage.errors import StorageError
from controlplane.storage.sqlite.backend import SQLiteStorage, open_sqlite_storage
from kubeapi.backoff import Backoff
from kubeapi.client import Client
from kubeapi.kubeconfig import ClientConfig

logger = logging.getLogger(__name__)

DATABASE_NAME: Final = "state.db"
_RESTART_BACKOFF: Final = Backoff(initial_seconds=1.0, maximum_seconds=30.0, factor=2.0)
_HEALTHY_SECONDS: Final = 60.0


def run_server_process(settings: ServerSettings) -> None:
    """Run the server until a signal stops it, on uvloop; ServerError says why it could not."""
    uvloop.run(run_server(settings))


async def run_server(settings: ServerSettings) -> None:
    """Run the server until SIGTERM or SIGINT; ServerError says why it could not start or go on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await run_until(settings, stop)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def run_until(settings: ServerSettings, stop: asyncio.Event) -> None:
    """Run the server until `stop` is set."""
    _check_settings(settings)
    advertise = choose_advertise_address(settings.advertise_address, settings.bind_address)
    async with AsyncExitStack() as stack:
        sockets = _open_sockets(settings)
        for each in sockets:
            stack.callback(each.close)
        _make_directory(settings.data_dir)
        # Before anything else there is written: opening takes the lock that keeps a second server out.
        storage = await stack.enter_async_context(_open_storage(settings.data_dir))
        paths = _prepare_certificates(settings, advertise)
        options = _build_options(settings, paths, advertise, _find_port(sockets))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        await stack.enter_async_context(serve(storage, sockets, options))
        url = _build_loopback_url(sockets)
        components = [
            tasks.create_task(_supervise(name, run)) for name, run in _build_components(settings, paths, url)
        ]
        send_notification(os.environ, "READY=1")
        logger.info("server is ready", extra={"url": url, "advertise_address": advertise})
        await stop.wait()
        send_notification(os.environ, "STOPPING=1")
        logger.info("server is stopping")
        for task in components:
            task.cancel()


# --- what is needed before anything runs ------------------------------------------------------------------


def _check_settings(settings: ServerSettings) -> None:
    for flag, text in (("--service-cidr", settings.service_cidr), ("--cluster-cidr", settings.cluster_cidr)):
        try:
            ip_network(text)
        except ValueError as error:
            raise ServerError(
                f"{flag} {text!r} is not a network: {error}; write it like 10.96.0.0/16"
            ) from error
    if Component.APISERVER not in settings.components:
        raise ServerError("--components must name apiserver: the scheduler and the controllers need it here")


def _make_directory(data_dir: Path) -> None:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ServerError(f"cannot make {data_dir}: {error.strerror}; choose another --data-dir") from error


def _prepare_certificates(settings: ServerSettings, advertise: str) -> CertificatePaths:
    """Certificates and the administrator's kubeconfig, made or brought up to date."""
    first_service_ip = str(ip_network(settings.service_cidr)[1])
    addresses = [each for each in (advertise, settings.bind_address) if each]
    names = list_server_names(
        addresses,
        cluster_domain=settings.cluster_domain,
        first_service_ip=first_service_ip,
        dns_names=(socket.gethostname(),),
    )
    try:
        paths = ensure_certificates(settings.data_dir, names)
        _write_admin_kubeconfig(settings, paths, advertise)
    except CertificatesError as error:
        raise ServerError(str(error)) from error
    return paths


def _write_admin_kubeconfig(settings: ServerSettings, paths: CertificatePaths, advertise: str) -> None:
    host = f"[{advertise}]" if ":" in advertise else advertise
    text = build_kubeconfig(
        server_url=f"https://{host}:{settings.secure_port}",
        ca_pem=paths.authority.certificate.read_bytes(),
        cert_pem=paths.admin.certificate.read_bytes(),
        key_pem=paths.admin.key.read_bytes(),
        user="kubernetes-admin",
    )
    write_kubeconfig(settings.data_dir / "kubeconfig" / "admin.yaml", text)


def _open_sockets(settings: ServerSettings) -> tuple[socket.socket, ...]:
    sockets = take_activated_sockets(os.environ, os.getpid())
    if settings.bind_address:
        sockets = (open_listener(settings.bind_address, settings.secure_port), *sockets)
    if not sockets:
        raise ServerError("there is nothing to listen on: give --bind-address, or a socket with LISTEN_FDS")
    return sockets


@asynccontextmanager
async def _open_storage(data_dir: Path) -> AsyncIterator[SQLiteStorage]:
    try:
        storage = await open_sqlite_storage(data_dir / DATABASE_NAME)
    except StorageError as error:
        raise ServerError(str(error)) from error
    try:
        yield storage
    finally:
        await storage.close()


def _build_options(
    settings: ServerSettings, paths: CertificatePaths, advertise: str, port: int
) -> ApiServerOptions:
    return ApiServerOptions(
        tls=build_server_tls(paths.serving.certificate, paths.serving.key, paths.authority.certificate),
        node_tls=build_node_tls(paths.kubelet_client.certificate, paths.kubelet_client.key),
        service_cidr=settings.service_cidr,
        cluster_dns=settings.cluster_dns,
        advertise_address=advertise,
        port=port,
        signing_key=_prepare_signing_key(settings),
        token_issuer=f"https://kubernetes.default.svc.{settings.cluster_domain}",
    )


def _prepare_signing_key(settings: ServerSettings) -> EllipticCurvePrivateKey:
    try:
        return ensure_signing_key(settings.data_dir)
    except CertificatesError as error:
        raise ServerError(str(error)) from error


def _find_port(sockets: Sequence[socket.socket]) -> int:
    return int(sockets[0].getsockname()[1])


def _build_loopback_url(sockets: Sequence[socket.socket]) -> str:
    """How this process reaches itself: its own listener's address, or loopback if that is a wildcard."""
    host, port = sockets[0].getsockname()[:2]
    match host:
        case "0.0.0.0":
            host = "127.0.0.1"
        case "::":
            host = "::1"
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


# --- scheduler and controllers ----------------------------------------------------------------------------

Run = Callable[[], Awaitable[None]]


def _build_components(settings: ServerSettings, paths: CertificatePaths, url: str) -> list[tuple[str, Run]]:
    """Imported here, so that a server without them does not load them."""
    components: list[tuple[str, Run]] = []
    if Component.SCHEDULER in settings.components:
        from controlplane.scheduler.app import run_scheduler

        scheduler_config = _build_client_config(url, paths, paths.scheduler)

        async def schedule() -> None:
            async with Client(scheduler_config, user_agent="berth-scheduler") as client:
                await run_scheduler(client)

        components.append(("scheduler", schedule))
    if Component.CONTROLLERS in settings.components:
        from controlplane.controllers.app import run_controllers
        from controlplane.controllers.settings import ControllerSettings

        controller_config = _build_client_config(url, paths, paths.controller_manager)
        controller_settings = ControllerSettings(
            cluster_cidr=settings.cluster_cidr, root_ca=paths.authority.certificate.read_text()
        )

        async def control() -> None:
            async with Client(controller_config, user_agent="berth-controllers") as client:
                await run_controllers(client, controller_settings)

        components.append(("controllers", control))
    return components


def _build_client_config(url: str, paths: CertificatePaths, identity: PairPaths) -> ClientConfig:
    return ClientConfig(
        server=url,
        ca_data=paths.authority.certificate.read_bytes(),
        client_certificate_data=identity.certificate.read_bytes(),
        client_key_data=identity.key.read_bytes(),
        # The certificate always has this name, whatever address the process reaches itself by.
        tls_server_name="localhost",
    )


async def _supervise(name: str, run: Run) -> None:
    """Keep a component running until cancelled."""
    random, attempt = Random(), 0
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        try:
            await run()
            logger.error("component ended by itself", extra={"component": name})
        except Exception:
            logger.exception("component failed", extra={"component": name})
        attempt = 0 if loop.time() - started > _HEALTHY_SECONDS else attempt + 1
        await asyncio.sleep(_RESTART_BACKOFF.delay(attempt, random.random()))
