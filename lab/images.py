"""The lab's own images, made from this machine's busybox, bash and catatonit, so that no registry is needed.

A shell: reads binaries, runs `ldd` and `busybox --list`, keeps the archive in a cache directory under a name
made of what went into it. Called by `lab.cluster`, the tests and the benches; what an archive looks like is
`lab.image_archive`'s.

- `berth.local/pause:1`: the sandbox's process; it only waits.
- `berth.local/web:1`: answers every GET on $PORT (8080) with the pod's hostname, and `/healthz` with "ok".
- `berth.local/shell:1`: busybox and bash. Debian's static busybox crashes when it resolves a name, therefore
  bash: its /dev/tcp goes through glibc and resolv.conf, and is enough for an HTTP request by DNS name.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab.errors import LabError
from lab.image_archive import Directory, Entry, File, ImageSpec, Symlink, build_archive

PAUSE_IMAGE = "berth.local/pause:1"
WEB_IMAGE = "berth.local/web:1"
SHELL_IMAGE = "berth.local/shell:1"
WEB_PORT = 8080

_RECIPE = "5"  # part of the cache key; raise it whenever the images change in a way their inputs don't show
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CHECKOUT = Path(__file__).resolve().parent.parent
# catatonit is PID 1 and passes SIGTERM on: httpd as PID 1 has no handler, and the kernel would drop the
# signal.
_WEB_SCRIPT = b"""#!/bin/sh
hostname > /www/index.html
echo ok > /www/healthz
exec httpd -f -p "${PORT:-8080}" -h /www
"""


def prepare_images(cache: Path | None = None) -> Path:
    """The path of one OCI archive with all our images; built when the cache lacks it (some 50 ms)."""
    inputs = _read_inputs()
    directory = (cache or default_cache()) / "images"
    archive = directory / f"{_cache_key(inputs)}.tar"
    if not archive.exists():
        directory.mkdir(parents=True, exist_ok=True)
        _write_atomically(archive, build_archive(_image_specs(inputs), _architecture()))
    return archive


def default_cache() -> Path:
    """$BERTH_CACHE, else `.cache` in a checkout, else the machine's cache directory."""
    if configured := os.environ.get("BERTH_CACHE"):
        return Path(configured)
    return _CHECKOUT / ".cache" if (_CHECKOUT / "pyproject.toml").exists() else Path("/var/cache/berth")


def parse_ldd(output: str) -> tuple[Path, ...]:
    """The files that `ldd` says a program loads, sorted; the kernel's vdso has no file and is left out."""
    return tuple(sorted({Path(path) for path in re.findall(r"(/\S+) \(0x[0-9a-f]+\)", output)}))


def _image_specs(inputs: dict[str, bytes]) -> tuple[ImageSpec, ...]:
    pause = File("pause", inputs["catatonit"], 0o755)
    init = File("sbin/catatonit", inputs["catatonit"], 0o755)
    userland = _userland(inputs)
    libraries = tuple(
        File(path.lstrip("/"), content, 0o755) for path, content in inputs.items() if path.startswith("/")
    )
    web = (*userland, init, Directory("www"), File("usr/bin/serve", _WEB_SCRIPT, 0o755))
    shell = (*userland, init, File("bin/bash", inputs["bash"], 0o755), *libraries)
    return (
        ImageSpec(name=PAUSE_IMAGE, entries=(pause,), entrypoint=("/pause", "-P")),
        ImageSpec(
            name=WEB_IMAGE,
            entries=web,
            entrypoint=("/sbin/catatonit", "--", "/usr/bin/serve"),
            exposed_ports=(f"{WEB_PORT}/tcp",),
        ),
        ImageSpec(
            name=SHELL_IMAGE,
            entries=shell,
            entrypoint=("/sbin/catatonit", "--"),
            command=("/bin/sleep", "infinity"),
        ),
    )


def _userland(inputs: dict[str, bytes]) -> tuple[Entry, ...]:
    applets = inputs["applets"].decode().split()
    links = tuple(Symlink(f"bin/{name}", "busybox") for name in applets if name != "busybox")
    return (
        File("bin/busybox", inputs["busybox"], 0o755),
        *links,
        Directory("tmp", 0o1777),
        File("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        File("etc/group", b"root:x:0:\nguests:x:7000:nobody\nnogroup:x:65534:\n"),
        Directory("root", 0o700),
    )


def _read_inputs() -> dict[str, bytes]:
    """Contents by role; bash's shared libraries by the absolute path where it looks for them."""
    bash = _find_program("bash", "bash")
    busybox = _find_program("busybox", "busybox-static")
    if libraries := parse_ldd(_run_tool("ldd", busybox)):
        raise LabError(
            f"{busybox} needs shared libraries ({libraries[0]}); install the package busybox-static instead"
        )
    inputs = {
        "catatonit": _find_program("catatonit", "catatonit").read_bytes(),
        "busybox": busybox.read_bytes(),
        "applets": _run_tool(busybox, "--list").encode(),
        "bash": bash.read_bytes(),
    }
    return inputs | {str(path): path.read_bytes() for path in parse_ldd(_run_tool("ldd", bash))}


def _find_program(name: str, package: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise LabError(
            f"the lab's images need `{name}`, which this machine lacks; install the package {package}"
        )
    return Path(found)


def _run_tool(*argv: str | Path) -> str:
    # `ldd` fails on a static program, which is an answer: it loads nothing.
    return subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout


def _architecture() -> str:
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def _cache_key(inputs: dict[str, bytes]) -> str:
    digest = hashlib.sha256(_RECIPE.encode() + _WEB_SCRIPT)
    for name, content in sorted(inputs.items()):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _write_atomically(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as partial:
        partial.write(content)
    Path(partial.name).replace(path)
