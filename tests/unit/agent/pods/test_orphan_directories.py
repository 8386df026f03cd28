"""Which pods have directories on this machine, as far as names tell."""

from __future__ import annotations

from pathlib import Path

from agent.pods.orphan_directories import list_pod_directories


def test_a_machine_without_pods_has_none(tmp_path: Path) -> None:
    assert list_pod_directories(tmp_path / "root", tmp_path / "logs") == {}


def test_a_directory_has_its_logs_name_or_else_its_uid(tmp_path: Path) -> None:
    for uid in ("uid-1", "uid-2"):
        (tmp_path / "root/pods" / uid).mkdir(parents=True)
    (tmp_path / "logs/shop_web_uid-1").mkdir(parents=True)
    (tmp_path / "logs/somebody-elses").mkdir()
    found = list_pod_directories(tmp_path / "root", tmp_path / "logs")
    assert {uid: (str(pod.key), pod.uid) for uid, pod in found.items()} == {
        "uid-1": ("shop/web", "uid-1"),
        "uid-2": ("default/uid-2", "uid-2"),
    }
