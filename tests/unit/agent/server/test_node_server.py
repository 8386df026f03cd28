"""The node's HTTPS server: who may come in, and what the routes answer."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.pods.ports import ContainerHandle, ContainerID, RunningPod, SandboxID
from agent.runtime.errors import RuntimeServiceError
from agent.server.application import build_application, build_healthz_application
from agent.server.authentication import (
    Access,
    AdminsOnly,
    Identity,
    build_server_tls,
    compute_access,
    parse_identity,
)
from agent.server.listeners import PortTaken, listen
from agent.server.logs import ContainerLogs
from agent.server.selfsigned import ensure_pair
from agent.server.serving_certificate import (
    NoServingCertificate,
    build_stamp,
    ensure_serving_pair,
    is_stamp_good,
)
from agent.server.streaming import Streaming
from kubeapi.meta import ObjectKey
from kubeapi.pod import ContainerState, ContainerStateWaiting, ContainerStatus, Pod
from tests.builders import pod


class _Directory:
    """One pod whose container web has a log."""

    def __init__(self, log_path: Path) -> None:
        self.pod = pod()
        self.handle = ContainerHandle(self.pod, SandboxID("s1"), ContainerID("c1"), log_path, True)

    def pods(self) -> tuple[Pod, ...]:
        return (self.pod,)

    def running_pods(self) -> tuple[RunningPod, ...]:
        return ()

    def subscribe_running(self, handler: Callable[[], None]) -> None:
        raise AssertionError("the server doesn't subscribe")

    def find_container(
        self, key: ObjectKey, uid: str, container: str, previous: bool
    ) -> ContainerHandle | None:
        known = key == self.pod.key and uid in ("", self.pod.uid) and container in ("", "web")
        return self.handle if known and not previous else None


class _Runtime:
    """Records what it was asked for and has no stream to offer."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    async def open_exec(
        self,
        container_id: ContainerID,
        command: tuple[str, ...],
        *,
        tty: bool,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> str:
        self.asked.append(("exec", container_id, command, tty, stdin, stdout, stderr))
        raise RuntimeServiceError("no stream")

    async def open_attach(
        self, container_id: ContainerID, *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> str:
        self.asked.append(("attach", container_id, tty, stdin, stdout, stderr))
        raise RuntimeServiceError("no stream")

    async def open_port_forward(self, sandbox_id: SandboxID, ports: tuple[int, ...]) -> str:
        self.asked.append(("forward", sandbox_id, ports))
        raise RuntimeServiceError("no stream")


class _Authority:
    """A certificate authority of the test's own."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self._name, self._key, is_authority=True)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def client(self, user: str, *groups: str) -> ssl.SSLContext:
        """A client's TLS with a certificate for the user."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])
        certificate = self._sign(subject, key, is_authority=False)
        path = self._directory / f"{user}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        context = anonymous()
        context.load_cert_chain(path)
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_authority: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )


def anonymous() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture
def authority(tmp_path: Path) -> _Authority:
    return _Authority(tmp_path, "cluster")


@pytest.fixture
def directory(tmp_path: Path) -> _Directory:
    log = tmp_path / "0.log"
    log.write_text("2026-01-02T03:04:05.000000001Z stdout F hello\n")
    return _Directory(log)


@pytest.fixture
def runtime() -> _Runtime:
    return _Runtime()


@pytest.fixture
async def url(
    authority: _Authority, directory: _Directory, runtime: _Runtime, tmp_path: Path
) -> AsyncIterator[str]:
    ensure_pair(tmp_path / "pki", "node-1", "127.0.0.1", datetime.now(UTC))
    tls = build_server_tls(tmp_path / "pki/kubelet.crt", tmp_path / "pki/kubelet.key", authority.pem)
    logs = ContainerLogs(directory, lambda: 0.0)
    application = build_application(directory, logs, Streaming(directory, runtime), AdminsOnly(), lambda: "")
    async with listen(application, "127.0.0.1", 0, tls) as port:
        yield f"https://127.0.0.1:{port}"


async def _get(url: str, tls: ssl.SSLContext, method: str = "GET") -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.request(method, url, ssl=tls) as answer:
        return answer.status, await answer.text()


_PATHS = (
    "/healthz",
    "/pods",
    "/runningpods/",
    "/containerLogs/default/web-1/web",
    "/exec/default/web-1/web?command=id&output=1",
    "/attach/default/web-1/web?output=1",
    "/portForward/default/web-1",
    "/nothing",
)


@pytest.mark.parametrize("path", _PATHS)
async def test_every_path_needs_a_certificate_and_the_right(
    url: str, authority: _Authority, path: str
) -> None:
    assert await _get(url + path, anonymous()) == (401, "Unauthorized")
    status, text = await _get(url + path, authority.client("mallory", "developers"))
    assert status == 403
    assert "user=mallory" in text
    status, _ = await _get(url + path, authority.client("kube-apiserver-kubelet-client"))
    assert status not in (401, 403)


async def test_a_certificate_of_another_authority_ends_the_handshake(url: str, tmp_path: Path) -> None:
    stranger = _Authority(tmp_path, "stranger").client("eve", "system:masters")
    with pytest.raises(aiohttp.ClientError):
        await _get(url + "/healthz", stranger)


@pytest.fixture
def admin(authority: _Authority) -> ssl.SSLContext:
    return authority.client("admin", "system:masters")


async def test_health_pods_and_logs(url: str, admin: ssl.SSLContext) -> None:
    assert await _get(url + "/healthz", admin) == (200, "ok")
    status, text = await _get(url + "/pods", admin)
    assert status == 200
    assert '"kind":"PodList"' in text
    assert '"uid-web-1"' in text
    assert '"items":[]' in (await _get(url + "/runningpods/", admin))[1]
    assert await _get(url + "/containerLogs/default/web-1/web", admin) == (200, "hello\n")


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/default/web-1/web?tailLines=x", 422, "tailLines 'x' is not a whole number"),
        ("/default/other/web", 404, 'pod "other" does not exist'),
        ("/default/web-1/db", 400, "container db is not valid for pod web-1"),
        (
            "/default/web-1/web?previous=true",
            400,
            'previous terminated container "web" in pod "web-1" not found',
        ),
    ],
)
async def test_logs_that_are_not_there(
    url: str, admin: ssl.SSLContext, path: str, status: int, text: str
) -> None:
    assert await _get(url + "/containerLogs" + path, admin) == (status, text)


async def test_logs_of_a_container_that_waits(
    url: str, admin: ssl.SSLContext, directory: _Directory, tmp_path: Path
) -> None:
    waiting = ContainerState(waiting=ContainerStateWaiting(reason="ImagePullBackOff", message="Back-off"))
    directory.pod = pod(status={"container_statuses": (ContainerStatus(name="web", state=waiting),)})
    directory.handle = replace(directory.handle, log_path=tmp_path / "absent.log")
    expected = 'container "web" in pod "web-1" is waiting to start: trying and failing to pull image'
    assert await _get(url + "/containerLogs/default/web-1/web", admin) == (400, expected)


async def test_streams_are_asked_for_by_both_names(
    url: str, admin: ssl.SSLContext, runtime: _Runtime
) -> None:
    for path in (
        "/exec/default/web-1/web?command=sh&command=-c&input=1&output=1&error=1",
        "/exec/default/web-1/uid-web-1/web?command=sh&stdin=true&stdout=true&stderr=true&tty=true",
        "/attach/default/web-1/web?output=1",
        "/portForward/default/web-1?port=80&port=443",
    ):
        assert await _get(url + path, admin, "POST") == (500, "no stream")
    assert runtime.asked == [
        ("exec", "c1", ("sh", "-c"), False, True, True, True),
        ("exec", "c1", ("sh",), True, True, True, False),
        ("attach", "c1", False, False, True, False),
        ("forward", "s1", (80, 443)),
    ]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/exec/default/web-1/web?output=1", 400),
        ("/exec/default/web-1/web?command=id", 400),
        ("/exec/default/web-1/other?command=id&output=1", 404),
        ("/exec/default/web-1/uid-of-another/web?command=id&output=1", 404),
        ("/attach/default/other/web?output=1", 404),
        ("/portForward/default/web-1?port=0", 400),
        ("/portForward/default/other", 404),
    ],
)
async def test_streams_that_cannot_be(
    url: str, admin: ssl.SSLContext, runtime: _Runtime, path: str, status: int
) -> None:
    assert (await _get(url + path, admin))[0] == status
    assert runtime.asked == []


async def test_a_container_that_ended_has_no_streams(
    url: str, admin: ssl.SSLContext, directory: _Directory
) -> None:
    directory.handle = replace(directory.handle, running=False)
    status, text = await _get(url + "/attach/default/web-1/web?output=1", admin)
    assert (status, text) == (400, "container 'web' of pod 'web-1' isn't running")


async def test_plain_health_on_loopback() -> None:
    trouble = ""
    application = build_healthz_application(lambda: trouble)
    async with listen(application, "127.0.0.1", 0, None) as port, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok")
        trouble = "the lanes stand still"
        async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert (answer.status, await answer.text()) == (500, trouble)
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}"):
            async with listen(build_healthz_application(lambda: ""), "127.0.0.1", port, None):
                raise AssertionError("the port was taken")


async def test_the_serving_pair_is_kept_while_it_is_good(tmp_path: Path) -> None:
    pair = await ensure_serving_pair(tmp_path, "node-1", "192.0.2.1")
    first = pair.certificate.read_bytes()
    assert pair.key.stat().st_mode & 0o777 == 0o600
    names = x509.load_pem_x509_certificate(first).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["node-1"]
    await ensure_serving_pair(tmp_path, "node-1", "192.0.2.1")
    assert pair.certificate.read_bytes() == first
    await ensure_serving_pair(tmp_path, "node-1", "192.0.2.2")
    assert pair.certificate.read_bytes() != first


def test_a_stamp_speaks_for_one_name_and_address_until_renewal() -> None:
    now = datetime.now(UTC)
    stamp = build_stamp("node-1", "192.0.2.1", now + timedelta(days=1))
    assert is_stamp_good(stamp, "node-1", "192.0.2.1", now)
    assert not is_stamp_good(stamp, "node-2", "192.0.2.1", now)
    assert not is_stamp_good(stamp, "node-1", "192.0.2.2", now)
    assert not is_stamp_good(stamp, "node-1", "192.0.2.1", now + timedelta(days=2))
    assert not is_stamp_good("garbage 192.0.2.1 node-1", "node-1", "192.0.2.1", now)


async def test_a_pair_that_cannot_be_made_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "pki").write_text("a file is in the way")
    with pytest.raises(NoServingCertificate, match="pki"):
        await ensure_serving_pair(tmp_path, "node-1", "192.0.2.1")


def test_the_identity_in_a_certificate() -> None:
    subject = ((("organizationName", "a"),), (("organizationName", "b"),), (("commonName", "me"),))
    assert parse_identity({"subject": subject}) == Identity("me", ("a", "b"))
    assert parse_identity({"subject": ((("organizationName", "a"),),)}) is None
    assert parse_identity({}) is None
    assert parse_identity(None) is None


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/containerLogs/a/b/c", Access("get", "log")),
        ("POST", "/exec/a/b/c", Access("create", "proxy")),
        ("GET", "/pods", Access("get", "proxy")),
        ("GET", "/metrics/cadvisor", Access("get", "metrics")),
    ],
)
def test_what_a_request_needs(method: str, path: str, expected: Access) -> None:
    assert compute_access(method, path) == expected
