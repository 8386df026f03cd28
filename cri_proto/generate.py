"""Generates the Python modules of the CRI interface from `runtime/v1/api.proto`.

Runs protoc and writes beside the `.proto`: messages and services, each with its type stub. Called by a person
after a change (`python -m cri_proto.generate`) and by a test, which compares (`--check`). Needs grpcio-tools
and mypy-protobuf, which are development tools; the output depends on their versions, so use the locked ones.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PROTO: Final = Path("cri_proto/runtime/v1/api.proto")
GENERATED: Final = tuple(
    PROTO.with_name(name) for name in ("api_pb2.py", "api_pb2.pyi", "api_pb2_grpc.py", "api_pb2_grpc.pyi")
)


class GenerateError(Exception):
    """protoc or one of its plugins failed; it has said why on standard error."""


def generate_into(folder: Path) -> None:
    """Writes the generated modules below `folder`, at the places they have below the checkout."""
    from grpc_tools import protoc  # type: ignore[import-untyped]

    plugin = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
    if not plugin.exists():
        raise GenerateError(f"{plugin} is missing; install mypy-protobuf into this environment")
    code = protoc.main(
        [
            "protoc",
            f"--proto_path={ROOT}",
            f"--python_out={folder}",
            f"--pyi_out={folder}",
            f"--grpc_python_out={folder}",
            f"--plugin=protoc-gen-mypy_grpc={plugin}",
            f"--mypy_grpc_out=quiet:{folder}",
            str(PROTO),
        ]
    )
    if code != 0:
        raise GenerateError(f"protoc ended with {code}")


def find_differences() -> tuple[Path, ...]:
    """The generated files that are not what the `.proto` gives, by their place in the checkout."""
    with tempfile.TemporaryDirectory(prefix="cri-proto-") as name:
        folder = Path(name)
        generate_into(folder)
        return tuple(path for path in GENERATED if _read(folder / path) != _read(ROOT / path))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cri_proto.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")
    options = parser.parse_args(arguments)
    try:
        differences = find_differences()
        if options.check:
            for path in differences:
                print(f"{path} is not what {PROTO} gives; run python -m cri_proto.generate", file=sys.stderr)
            return 1 if differences else 0
        generate_into(ROOT)
    except GenerateError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in differences:
        print(f"wrote {path}")
    return 0


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
