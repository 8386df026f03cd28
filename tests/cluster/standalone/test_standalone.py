"""A directory without an API server: pods with their ConfigMaps, Secrets and Services, and restarts of the
agent.
"""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network

from agent.checkpoint.records import PodRecord
from lab.cgroups import read_pids
from tests.cluster.node_memory import forget_what_lived_in_memory
from tests.cluster.scene import build_pod, build_service, build_shell, build_web
from tests.cluster.standalone.conftest import Document, Lone, is_ready, wait_until

SERVICE_IP = "10.96.33.7"
READS = [{"name": "settings", "mountPath": "/settings"}, {"name": "keys", "mountPath": "/keys"}]
SOURCES = [
    {"name": "settings", "configMap": {"name": "settings"}},
    {"name": "keys", "secret": {"secretName": "keys"}},
]


def pod(name: str, *containers: Document, **fields: object) -> Document:
    return {"kind": "Pod", **build_pod(name, *containers, **fields)}  # type: ignore[arg-type]


def config_map(color: str) -> Document:
    return {"kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"color": color}}


SECRET: Document = {"kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"key": "sesame"}}


def web_service(**spec: object) -> Document:
    ports = {"port": 80, "targetPort": "http"}
    return {"kind": "Service", **build_service("web", {"app": "web"}, ports, **spec)}


def test_a_pod_runs_while_its_file_is_there(lone: Lone) -> None:
    path = lone.write("one.json", pod("one"))
    record = lone.wait_for_pod("one", is_ready)

    (address,) = (each.ip for each in record.pod.status.pod_ips)
    assert ip_address(address) in ip_network(str(lone.node.pod_cidr))
    assert lone.run_in(record, "echo", "hello") == "hello\n"
    assert not lone.node.run(["ss", "-Hltn", "sport = 10250"]).stdout, "nobody could authenticate there"
    path.unlink()

    lone.wait_until_gone("one")
    assert not read_pids(f"{lone.node.cgroup_root}/kubepods")


def test_volumes_and_variables_come_from_the_directory_and_follow_it(lone: Lone) -> None:
    reference = {"configMapKeyRef": {"name": "settings", "key": "color"}}
    secret = {"secretKeyRef": {"name": "keys", "key": "key"}}
    env = [{"name": "COLOR", "valueFrom": reference}, {"name": "KEY", "valueFrom": secret}]
    reader = build_shell(env=env, volumeMounts=READS)
    lone.write("objects.json", config_map("red"), SECRET)
    lone.write("reader.json", pod("reader", reader, volumes=SOURCES))
    record = lone.wait_for_pod("reader", is_ready)

    shown = lone.run_in(record, "sh", "-c", "echo $COLOR $KEY $(cat /settings/color /keys/key)")
    assert shown.split() == ["red", "sesame", "redsesame"]
    delays = []
    for color in ("green", "blue", "black"):
        lone.write("objects.json", config_map(color), SECRET)
        started = time.monotonic()
        wait_until(lambda: lone.run_in(record, "cat", "/settings/color") == color, f"not {color}")  # noqa: B023
        delays.append(time.monotonic() - started)
    assert max(delays) < 2.5, "two seconds, and what it costs to look"
    assert lone.wait_for_pod("reader", is_ready).pod.status == record.pod.status


def test_a_pod_waits_for_its_config_map_and_then_starts(lone: Lone) -> None:
    lone.write("reader.json", pod("reader", build_shell(volumeMounts=READS[:1]), volumes=SOURCES[:1]))
    lone.wait_for_pod("reader", lambda record: record.pod.status.phase == "Pending")
    wait_until(lambda: 'configmap "settings" not found' in lone.explain("reader"), lone.explain("reader"))

    lone.write("settings.json", config_map("red"))

    lone.wait_for_pod("reader", is_ready)


def test_services_lead_to_ready_pods_by_address_name_and_variable(lone: Lone) -> None:
    lone.write("service.json", web_service(clusterIP=SERVICE_IP))
    lone.write("web.json", pod("web-1", build_web(), labels={"app": "web"}))
    lone.write("more.json", pod("web-2", build_web(), labels={"app": "web"}), pod("asker"))
    for name in ("web-1", "web-2"):
        lone.wait_for_pod(name, is_ready)
    asker = lone.wait_for_pod("asker", is_ready)
    names = {f"web-{number}-{lone.node.name}" for number in (1, 2)}

    def answers() -> set[str]:
        return {lone.ask(f"http://{SERVICE_IP}/").strip() for _ in range(12)}

    wait_until(lambda: answers() == names, "not both pods answer")
    asked = lone.run_in(asker, "wget", "-qO-", "http://web.default.svc.cluster.local/")
    assert asked.strip() in names
    assert lone.run_in(asker, "sh", "-c", "echo $WEB_SERVICE_HOST").strip() == SERVICE_IP

    (lone.directory / "web.json").unlink()
    wait_until(lambda: answers() == {f"web-2-{lone.node.name}"}, "the pod that is gone is still asked")


def test_a_service_keeps_the_address_that_was_chosen_for_it(lone: Lone) -> None:
    lone.write("service.json", web_service(type="NodePort"))
    lone.write("web.json", pod("web", build_web(), labels={"app": "web"}), pod("asker"))
    lone.wait_for_pod("web", is_ready)
    show = "echo http://$WEB_SERVICE_HOST:$WEB_SERVICE_PORT/"
    chosen = lone.run_in(lone.wait_for_pod("asker", is_ready), "sh", "-c", show).strip()
    wait_until(lambda: lone.ask(chosen) != "", f"{chosen} doesn't answer")

    lone.kill_agent()
    lone.write("another.json", {"kind": "Service", **build_service("a", {"app": "web"}, {"port": 80})})
    lone.start_agent()
    lone.write("late.json", pod("late"))

    assert lone.run_in(lone.wait_for_pod("late", is_ready), "sh", "-c", show).strip() == chosen
    assert lone.ask(chosen) != ""


def test_what_cannot_be_used_is_named_and_stops_nothing(lone: Lone) -> None:
    lone.write("a.json", pod("one"))
    first = lone.wait_for_pod("one", is_ready)
    lone.write("b.json", pod("one", build_shell("exec sleep 1")))
    lone.write("c.json", {"kind": "Deployment"}, pod("two"))
    (lone.directory / "d.yaml").write_text("a: [")
    lone.wait_for_pod("two", is_ready)

    wait_until(lambda: lone.read_log().count("d.yaml is neither YAML nor JSON") == 1, "d.yaml isn't named")
    assert lone.read_log().count("c.json holds a v1 Deployment, but only v1 Pod") == 1
    assert lone.read_log().count("b.json has the Pod default/one-") == 1
    assert lone.wait_for_pod("one", is_ready).pod.status == first.pod.status


def test_a_restart_of_the_agent_is_invisible(lone: Lone) -> None:
    lone.write("objects.json", config_map("red"), SECRET, web_service(clusterIP=SERVICE_IP))
    lone.write("web.json", pod("web", build_web(), labels={"app": "web"}))
    lone.write("reader.json", pod("reader", build_shell(volumeMounts=READS), volumes=SOURCES))
    before = {name: lone.wait_for_pod(name, is_ready) for name in ("web", "reader")}

    for _ in range(2):
        lone.kill_agent()
        assert lone.ask(f"http://{SERVICE_IP}/") != ""
        lone.start_agent()
        assert lone.ask(f"http://{SERVICE_IP}/") != ""
    lone.write("late.json", pod("late"))
    lone.wait_for_pod("late", is_ready)

    for name, record in before.items():
        assert lone.wait_for_pod(name, is_ready).pod == record.pod


def test_what_changed_while_the_agent_was_away_is_caught_up(lone: Lone) -> None:
    lone.write("gone.json", pod("gone"))
    lone.write("changed.json", pod("changed"))
    lone.wait_for_pod("gone", is_ready)
    before = lone.wait_for_pod("changed", is_ready)

    lone.kill_agent()
    (lone.directory / "gone.json").unlink()
    lone.write("changed.json", pod("changed", labels={"version": "2"}))
    lone.start_agent()

    lone.wait_until_gone("gone")
    after = lone.wait_for_pod(
        "changed", lambda record: "version" in record.pod.metadata.labels and is_ready(record)
    )
    assert after.pod.uid != before.pod.uid


def test_all_comes_back_after_a_power_cut(lone: Lone) -> None:
    lone.write("objects.json", config_map("red"), SECRET, web_service(clusterIP=SERVICE_IP))
    lone.write("web.json", pod("web", build_web(), labels={"app": "web"}))
    lone.write("reader.json", pod("reader", build_shell(volumeMounts=READS), volumes=SOURCES))
    before = {name: lone.wait_for_pod(name, is_ready) for name in ("web", "reader")}

    lone.kill_agent()
    lone.node.kill_containerd()
    lone.node.kill_containers()
    forget_what_lived_in_memory(lone.node)
    lone.node.start_containerd()
    lone.start_agent()

    def has_come_back(record: PodRecord) -> bool:
        return is_ready(record) and record.pod.status.container_statuses[0].restart_count == 1

    after = {name: lone.wait_for_pod(name, has_come_back) for name in before}
    assert [record.pod.uid for record in after.values()] == [record.pod.uid for record in before.values()]
    assert lone.run_in(after["reader"], "cat", "/settings/color", "/keys/key") == "redsesame"
    wait_until(lambda: lone.ask(f"http://{SERVICE_IP}/") != "", "the Service doesn't answer")
