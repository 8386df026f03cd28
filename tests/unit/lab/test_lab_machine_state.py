from __future__ import annotations

from lab.machine_state import Aspect, Change, MachineState, changes_of_lab, diff_states


def build_state(**items: set[str]) -> MachineState:
    return {aspect: frozenset(items.get(aspect.value, set())) for aspect in Aspect}


def test_the_same_machine_has_no_difference() -> None:
    state = build_state(links={"lo", "eth0"}, mounts={"/ (ext4)"})

    assert diff_states(state, state) == ()


def test_what_appeared_and_what_vanished_are_told_apart() -> None:
    before = build_state(links={"lo"}, files={"/etc/cni/a"})
    after = build_state(links={"lo", "veth1"})

    assert diff_states(before, after) == (
        Change(Aspect.FILES, "/etc/cni/a", appeared=False),
        Change(Aspect.LINKS, "veth1", appeared=True),
    )
    assert str(diff_states(before, after)[1]) == "links: + veth1"


def test_a_change_is_the_lab_s_when_it_carries_the_mark() -> None:
    ours = Change(Aspect.CGROUPS, "/sys/fs/cgroup/pids/berth-lab-x/n1", appeared=True)
    other_lab = Change(Aspect.CGROUPS, "/sys/fs/cgroup/pids/berth-lab-xy/n1", appeared=True)
    stranger = Change(Aspect.PROCESSES, "bash (pid 7)", appeared=True)

    assert changes_of_lab([ours, other_lab, stranger], "x") == (ours,)


def test_a_change_to_the_host_s_own_network_always_counts() -> None:
    link = Change(Aspect.LINKS, "veth1 (ether, index 9, 0a:00)", appeared=True)
    rule = Change(Aspect.RULES, "table ip nat: chain POSTROUTING {", appeared=False)

    assert changes_of_lab([link, rule], "x") == (link, rule)
