"""Waiting for what the lab starts, on events rather than by sleeping.

A shell. containerd says when it is ready through systemd's sd_notify protocol, a socket that is given to it;
its CRI service then answers a moment later.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

from cri_proto.runtime.v1 import api_pb2, api_pb2_grpc
from lab.errors import LabError
from lab.processes import Process

_RETRY_SECONDS = 0.02


class ReadyNotice:
    """The socket at which one program reports that it is ready."""

    def __init__(self, path: Path, receiver: socket.socket) -> None:
        self.path = path
        self._receiver = receiver

    def wait(self, process: Process, log_file: Path, timeout_seconds: float) -> None:
        """Until READY=1; a LabError with the log's end when the program dies or the time is over."""
        deadline = time.monotonic() + timeout_seconds
        with _opened_pidfd(process, log_file) as pidfd:
            while (remaining := deadline - time.monotonic()) > 0:
                readable, _, _ = select.select([self._receiver.fileno(), pidfd], [], [], remaining)
                if self._receiver.fileno() in readable:
                    if b"READY=1" in self._receiver.recv(4096).split(b"\n"):
                        return
                elif pidfd in readable:
                    raise LabError(f"{log_file.stem} ended while starting: {read_log_end(log_file)}")
        raise LabError(f"{log_file.stem} isn't ready after {timeout_seconds:g} s: {read_log_end(log_file)}")


@contextlib.contextmanager
def listen_for_ready(path: Path) -> Iterator[ReadyNotice]:
    """`path` goes to the program as NOTIFY_SOCKET."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        try:
            yield ReadyNotice(path, receiver)
        finally:
            path.unlink(missing_ok=True)


def wait_for_cri(endpoint: str, images: tuple[str, ...], timeout_seconds: float) -> None:
    """Until the CRI service answers and knows these images (it learns of imported ones by an event)."""
    deadline = time.monotonic() + timeout_seconds
    with grpc.insecure_channel(endpoint) as channel:
        stub = api_pb2_grpc.ImageServiceStub(channel)
        while True:
            missing = _missing_images(stub, images, deadline - time.monotonic())
            if not missing:
                return
            if time.monotonic() > deadline:
                raise LabError(
                    f"containerd at {endpoint} doesn't show {missing[0]} after {timeout_seconds:g} s"
                )
            time.sleep(_RETRY_SECONDS)  # the CRI has no event for images


def _missing_images(
    stub: api_pb2_grpc.ImageServiceStub, images: tuple[str, ...], remaining: float
) -> tuple[str, ...]:
    try:
        answer = stub.ListImages(
            api_pb2.ListImagesRequest(), timeout=max(remaining, 0.1), wait_for_ready=True
        )
    except grpc.RpcError as error:
        # UNKNOWN and UNAVAILABLE: the socket is served before the CRI plugin has finished its own start.
        if error.code() not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE):
            raise LabError(f"containerd's CRI service fails: {error.details()}") from error
        return ("an answer to ListImages",)
    known = {tag for image in answer.images for tag in image.repo_tags}
    return tuple(name for name in images if name not in known)


def read_log_end(log_file: Path, lines: int = 3) -> str:
    """The last lines in one, for an error message."""
    try:
        text = log_file.read_text(errors="replace")
    except OSError:
        return f"{log_file} is missing"
    end = " | ".join(text.strip().splitlines()[-lines:])
    return f"{end or 'it wrote nothing'} (see {log_file})"


@contextlib.contextmanager
def _opened_pidfd(process: Process, log_file: Path) -> Iterator[int]:
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        raise LabError(f"{log_file.stem} ended while starting: {read_log_end(log_file)}") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)
