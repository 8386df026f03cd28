"""What CRI says of features and users, as values."""

from __future__ import annotations

from agent.runtime.decode import decode_container_status, decode_features
from agent.runtime.values import HandlerFeatures, LinuxUser, RuntimeFeatures
from cri_proto.runtime.v1 import api_pb2 as cri


def test_features_are_said_of_each_handler() -> None:
    message = cri.StatusResponse(
        runtime_handlers=[
            cri.RuntimeHandler(name="", features=cri.RuntimeHandlerFeatures(user_namespaces=True)),
            cri.RuntimeHandler(name="kata"),
        ],
        features=cri.RuntimeFeatures(supplemental_groups_policy=True),
    )
    features = decode_features(message)
    assert features.of("") == HandlerFeatures(user_namespaces=True, supplemental_groups_policy=True)
    assert features.of("kata") == HandlerFeatures(supplemental_groups_policy=True)
    assert features.of("unknown") == HandlerFeatures(supplemental_groups_policy=True)


def test_an_older_runtime_says_nothing() -> None:
    assert decode_features(cri.StatusResponse()) == RuntimeFeatures()
    assert decode_container_status(cri.ContainerStatus(id="c")).user is None


def test_the_user_of_a_container_is_told() -> None:
    user = cri.ContainerUser(linux=cri.LinuxContainerUser(uid=1, gid=2, supplemental_groups=[2, 3]))
    found = decode_container_status(cri.ContainerStatus(id="c", user=user))
    assert found.user == LinuxUser(1, 2, (2, 3))
