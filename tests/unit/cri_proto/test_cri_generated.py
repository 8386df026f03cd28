"""The generated modules are what the `.proto` gives, and the `.proto` explains itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cri_proto import generate
from cri_proto.runtime.v1 import api_pb2


def test_regenerating_changes_nothing() -> None:
    assert generate.find_differences() == ()


def test_a_file_that_was_edited_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (generate.PROTO, *generate.GENERATED):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((generate.ROOT / path).read_bytes())
    edited = generate.GENERATED[1]
    (tmp_path / edited).write_text("# edited\n")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.find_differences() == (edited,)
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_a_broken_proto_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / generate.PROTO).parent.mkdir(parents=True)
    (tmp_path / generate.PROTO).write_text('syntax = "proto3"; message {')
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main([]) == 1
    assert "error: protoc ended with" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["service", "rpc", "message", "enum"])
def test_everything_has_its_comment(kind: str) -> None:
    lines = (generate.ROOT / generate.PROTO).read_text().splitlines()
    bare = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if re.match(rf"\s*{kind} \w+", line) and not before.strip().startswith("// ")
    ]
    assert bare == []


def test_a_message_survives_the_wire() -> None:
    config = api_pb2.PodSandboxConfig(
        metadata=api_pb2.PodSandboxMetadata(name="web", uid="u", namespace="default", attempt=2),
        labels={"app": "web"},
        linux=api_pb2.LinuxPodSandboxConfig(
            security_context=api_pb2.LinuxSandboxSecurityContext(
                seccomp=api_pb2.SecurityProfile(profile_type=api_pb2.SecurityProfile.Localhost)
            )
        ),
    )
    assert api_pb2.PodSandboxConfig.FromString(config.SerializeToString()) == config
