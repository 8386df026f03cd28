"""Security contexts of a pod and a container as CRI takes them.

Pure. Called by `sandbox_config` and `container_config`. Follows the "Configure a Security Context" page and
the User Namespaces page; a container's own setting goes before its pod's.
"""

from __future__ import annotations

from typing import Final

from agent.pods.ports import LocalImage, Unavailable
from agent.pods.security.app_armor import choose_app_armor
from agent.pods.security.user_ids import IDRange
from cri_proto.runtime.v1 import api_pb2 as cri
from kubeapi.pod import (
    Capabilities,
    Container,
    Pod,
    PodSecurityContext,
    SecurityContext,
    SecurityProfile,
    SELinuxOptions,
)

_MASKED_PATHS: Final = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
_CONFIG_ERROR: Final = "CreateContainerConfigError"
_READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def build_namespace_options(pod: Pod, users: IDRange | None = None) -> cri.NamespaceOption:
    """Which namespaces the pod's containers share with the host, and whether processes see each other.

    `users`: what stands outside for the pod's own users and groups, if it has its own.
    """
    shared_pid = cri.POD if pod.spec.share_process_namespace else cri.CONTAINER
    return cri.NamespaceOption(
        network=cri.NODE if pod.spec.host_network else cri.POD,
        pid=cri.NODE if pod.spec.host_pid else shared_pid,
        ipc=cri.NODE if pod.spec.host_ipc else cri.POD,
        userns_options=None if users is None else _build_user_namespace(users),
    )


def _build_user_namespace(users: IDRange) -> cri.UserNamespace:
    mapping = build_id_mapping(users)
    return cri.UserNamespace(mode=cri.POD, uids=[mapping], gids=[mapping])


def build_id_mapping(users: IDRange) -> cri.IDMapping:
    return cri.IDMapping(host_id=users.first, container_id=0, length=users.length)


def build_sandbox_security(pod: Pod, users: IDRange | None = None) -> cri.LinuxSandboxSecurityContext:
    """For the sandbox's own process; privileged where any container is, as runtimes demand.

    That process needs no more than the runtime's own profile, whatever its containers run under.
    """
    context = pod.spec.security_context or PodSecurityContext()
    containers = (*pod.spec.init_containers, *pod.spec.containers, *pod.spec.ephemeral_containers)
    privileged = any(c.security_context and c.security_context.privileged for c in containers)
    return cri.LinuxSandboxSecurityContext(
        namespace_options=build_namespace_options(pod, users),
        privileged=privileged,
        supplemental_groups=_list_groups(context),
        supplemental_groups_policy=_choose_groups_policy(context),
        selinux_options=_build_selinux(context.se_linux_options),
        seccomp=cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault),
        run_as_user=_build_int(context.run_as_user),
        run_as_group=_build_int(context.run_as_group if context.run_as_user is not None else None),
    )


def build_container_security(
    pod: Pod, container: Container, image: LocalImage, seccomp_root: str, users: IDRange | None = None
) -> cri.LinuxContainerSecurityContext:
    """The container's process: its user, groups, capabilities and profiles; raises Unavailable when
    runAsNonRoot is broken, or a profile has no name.
    """
    own = container.security_context or SecurityContext()
    shared = pod.spec.security_context or PodSecurityContext()
    user = own.run_as_user if own.run_as_user is not None else shared.run_as_user
    group = own.run_as_group if own.run_as_group is not None else shared.run_as_group
    _check_non_root(pod, container, user, image)
    privileged = bool(own.privileged)
    unmasked = privileged or own.proc_mount == "Unmasked"
    message = cri.LinuxContainerSecurityContext(
        capabilities=_build_capabilities(own.capabilities),
        privileged=privileged,
        namespace_options=build_namespace_options(pod, users),
        selinux_options=_build_selinux(own.se_linux_options or shared.se_linux_options),
        readonly_rootfs=bool(own.read_only_root_filesystem),
        supplemental_groups=_list_groups(shared),
        supplemental_groups_policy=_choose_groups_policy(shared),
        no_new_privs=own.allow_privilege_escalation is False,
        masked_paths=() if unmasked else _MASKED_PATHS,
        readonly_paths=() if unmasked else _READONLY_PATHS,
        seccomp=_build_seccomp(own, shared, seccomp_root),
    )
    _set_user(message, user, group, image)
    app_armor = choose_app_armor(pod, container)
    if app_armor is not None:
        message.apparmor.CopyFrom(_build_profile(app_armor, "", "appArmorProfile"))
    return message


def _build_seccomp(own: SecurityContext, shared: PodSecurityContext, root: str) -> cri.SecurityProfile:
    """A privileged container has none, whatever is said."""
    profile = None if own.privileged else own.seccomp_profile or shared.seccomp_profile
    return _build_profile(profile, root, "seccompProfile")


def _set_user(
    message: cri.LinuxContainerSecurityContext, user: int | None, group: int | None, image: LocalImage
) -> None:
    if user is None and image.user_id is None:
        message.run_as_username = image.user_name
    else:
        message.run_as_user.value = user if user is not None else image.user_id or 0
    if group is not None:
        message.run_as_group.value = group


def _check_non_root(pod: Pod, container: Container, user: int | None, image: LocalImage) -> None:
    own = container.security_context or SecurityContext()
    shared = pod.spec.security_context or PodSecurityContext()
    required = own.run_as_non_root if own.run_as_non_root is not None else shared.run_as_non_root
    why = _find_root(user, image) if required else None
    if why is not None:
        meta = pod.metadata
        where = f'(pod: "{meta.name}_{meta.namespace}({meta.uid})", container: {container.name})'
        raise Unavailable(_CONFIG_ERROR, f"{why} {where}")


def _find_root(user: int | None, image: LocalImage) -> str | None:
    """Why the process is root, or may be, if it is."""
    if user is not None:
        return "container's runAsUser breaks non-root policy" if user == 0 else None
    if image.user_id is None and image.user_name:
        return (
            f"container has runAsNonRoot and image has non-numeric user ({image.user_name}), "
            "cannot verify user is non-root"
        )
    if not image.user_id:
        return "container has runAsNonRoot and image will run as root"
    return None


def _build_capabilities(capabilities: Capabilities | None) -> cri.Capability | None:
    if capabilities is None:
        return None
    return cri.Capability(
        add_capabilities=map(_spell_capability, capabilities.add),
        drop_capabilities=map(_spell_capability, capabilities.drop),
    )


def _spell_capability(name: str) -> str:
    """As every runtime takes it: not all know the kernel's own spelling."""
    return name.upper().removeprefix("CAP_")


def _build_profile(profile: SecurityProfile | None, localhost_root: str, field: str) -> cri.SecurityProfile:
    """Unconfined unless said otherwise, as the kubelet does without its seccomp default."""
    match profile.type if profile else "":
        case "RuntimeDefault":
            return cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault)
        case "Localhost":
            name = (profile.localhost_profile if profile else None) or ""
            if not name:
                raise Unavailable(
                    _CONFIG_ERROR, f"localhostProfile must be set if {field} type is Localhost."
                )
            reference = f"{localhost_root}/{name}" if localhost_root else name
            return cri.SecurityProfile(profile_type=cri.SecurityProfile.Localhost, localhost_ref=reference)
        case _:
            return cri.SecurityProfile(profile_type=cri.SecurityProfile.Unconfined)


def _build_selinux(options: SELinuxOptions | None) -> cri.SELinuxOption | None:
    if options is None:
        return None
    return cri.SELinuxOption(user=options.user, role=options.role, type=options.type, level=options.level)


def _list_groups(context: PodSecurityContext) -> list[int]:
    fs_group = [] if context.fs_group is None else [context.fs_group]
    return [*dict.fromkeys((*context.supplemental_groups, *fs_group))]


def _choose_groups_policy(context: PodSecurityContext) -> cri.SupplementalGroupsPolicy:
    return cri.Strict if context.supplemental_groups_policy == "Strict" else cri.Merge


def _build_int(value: int | None) -> cri.Int64Value | None:
    return None if value is None else cri.Int64Value(value=value)
