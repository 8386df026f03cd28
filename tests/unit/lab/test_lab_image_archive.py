from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from lab.image_archive import Directory, File, ImageSpec, Symlink, build_archive, build_layer
from lab.images import parse_ldd

PAUSE = ImageSpec(
    name="berth.local/pause:1", entries=(File("pause", b"\x7fELF", 0o755),), entrypoint=("/pause", "-P")
)
SHELL = ImageSpec(
    name="berth.local/shell:1",
    entries=(File("bin/busybox", b"box", 0o755), Symlink("bin/sh", "busybox"), Directory("tmp", 0o1777)),
    entrypoint=("/bin/sh",),
    command=("-c", "true"),
)


def read_members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]


def follow(members: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    """The blob that a descriptor names, which must be there with this digest and size."""
    blob = members["blobs/" + descriptor["digest"].replace(":", "/")]
    assert len(blob) == descriptor["size"]
    assert "sha256:" + hashlib.sha256(blob).hexdigest() == descriptor["digest"]
    return blob


def test_every_descriptor_leads_to_its_blob() -> None:
    members = read_members(build_archive([PAUSE, SHELL], "amd64"))

    for entry in json.loads(members["index.json"])["manifests"]:
        manifest = json.loads(follow(members, entry))
        config = json.loads(follow(members, manifest["config"]))
        layers = [follow(members, layer) for layer in manifest["layers"]]
        assert config["rootfs"]["diff_ids"] == [
            "sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers
        ]


def test_an_image_s_name_and_process_are_what_was_asked_for() -> None:
    members = read_members(build_archive([SHELL], "arm64"))
    (entry,) = json.loads(members["index.json"])["manifests"]
    config = json.loads(follow(members, json.loads(follow(members, entry))["config"]))

    assert entry["annotations"]["io.containerd.image.name"] == "berth.local/shell:1"
    assert (config["architecture"], config["os"]) == ("arm64", "linux")
    assert config["config"]["Entrypoint"] == ["/bin/sh"]
    assert config["config"]["Cmd"] == ["-c", "true"]


def test_the_same_images_are_the_same_bytes() -> None:
    shuffled = ImageSpec(
        name=SHELL.name,
        entries=tuple(reversed(SHELL.entries)),
        entrypoint=SHELL.entrypoint,
        command=SHELL.command,
    )

    assert build_archive([SHELL], "amd64") == build_archive([shuffled], "amd64")
    assert build_archive([SHELL], "amd64") != build_archive([PAUSE], "amd64")


def test_a_layer_keeps_modes_and_links_and_names_each_parent_once() -> None:
    with tarfile.open(fileobj=io.BytesIO(build_layer(SHELL.entries))) as tar:
        found = {member.name: (member.mode, member.linkname, member.uid, member.mtime) for member in tar}

    assert found == {
        "bin": (0o755, "", 0, 0),
        "bin/busybox": (0o755, "", 0, 0),
        "bin/sh": (0o777, "busybox", 0, 0),
        "tmp": (0o1777, "", 0, 0),
    }


def test_ldd_names_libraries_and_the_loader_but_not_the_vdso() -> None:
    output = """\
\tlinux-vdso.so.1 (0x00007fd792e3a000)
\tlibtinfo.so.6 => /lib/x86_64-linux-gnu/libtinfo.so.6 (0x00007fd792cb6000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007fd792ad4000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007fd792e3c000)
"""

    assert parse_ldd(output) == (
        Path("/lib/x86_64-linux-gnu/libc.so.6"),
        Path("/lib/x86_64-linux-gnu/libtinfo.so.6"),
        Path("/lib64/ld-linux-x86-64.so.2"),
    )
    assert parse_ldd("\tnot a dynamic executable\n") == ()
