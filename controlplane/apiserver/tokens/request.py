"""A TokenRequest: whether it may be granted, and what the token then says.

Pure; time and the token's id are arguments. Objects are read from memory through `PolicyObjects`. Called by
the HTTP layer for serviceaccounts/token. A token is for its audiences until it expires, and holds only as
long as the account, and the pod, node or secret that it is bound to, are there. Follows the TokenRequest page
of the Kubernetes API reference and "Managing Service Accounts" in the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from controlplane.apiserver.admission.policy_objects import PolicyObjects
from controlplane.apiserver.documents import Document
from controlplane.apiserver.failures import (
    ApiFailure,
    bad_request,
    conflict,
    forbidden,
    invalid,
    not_found,
)
from controlplane.apiserver.kinds import NODE, POD, SECRET, SERVICE_ACCOUNT, Kind
from kubeapi.meta import format_time
from kubeapi.status import StatusCause

TOKEN_REQUEST: Final = Kind(
    "authentication.k8s.io", "v1", "tokenrequests", "tokenrequest", "TokenRequest", namespaced=True
)
"""Only for messages: token requests are answered, never stored."""

DEFAULT_SECONDS: Final = 3600
_LEAST_SECONDS: Final = 600
_MOST_SECONDS: Final = 1 << 32
# What the cluster's own volumes ask for. Clients that never read the file again are let go on for a year,
# and can be found by `warnafter`.
_INJECTED_SECONDS: Final = 3607
_EXTENDED_SECONDS: Final = 365 * 24 * 3600
_BINDABLE: Final[Mapping[tuple[str, str], Kind]] = {
    ("v1", "Pod"): POD,
    ("v1", "Node"): NODE,
    ("v1", "Secret"): SECRET,
}


@dataclass(frozen=True, slots=True)
class Grant:
    """The claims to sign, and the answer that still lacks the token."""

    claims: Mapping[str, Any]
    answer: Document

    def complete(self, token: str) -> Document:
        """The answer with its token."""
        return {**self.answer, "status": {**self.answer["status"], "token": token}}


def grant_token(
    request: Mapping[str, Any],
    account_key: tuple[str, str],
    objects: PolicyObjects,
    *,
    issuer: str,
    token_id: str,
    now: datetime,
) -> Grant:
    """What to sign for the account of that namespace and name; ApiFailure says why nothing is."""
    namespace, name = account_key
    account = _find(SERVICE_ACCOUNT, namespace, name, objects)
    spec = request.get("spec") or {}
    audiences = list(spec.get("audiences") or (issuer,))
    sent = spec.get("expirationSeconds")
    seconds = DEFAULT_SECONDS if sent is None else sent
    _check_seconds(seconds)
    reference = spec.get("boundObjectRef")
    bound = _find_bound(reference, namespace, name, objects) if reference else {}
    private: dict[str, Any] = {
        "namespace": namespace,
        "serviceaccount": _name(account),
        **{kind: _name(each) for kind, each in bound.items()},
    }
    lifetime = seconds
    if seconds == _INJECTED_SECONDS and "pod" in bound and audiences == [issuer]:
        lifetime = _EXTENDED_SECONDS
        private["warnafter"] = _seconds(now) + seconds
    claims = {
        "aud": audiences,
        "exp": _seconds(now) + lifetime,
        "iat": _seconds(now),
        "iss": issuer,
        "jti": token_id,
        "kubernetes.io": dict(sorted(private.items())),
        "nbf": _seconds(now),
        "sub": f"system:serviceaccount:{namespace}:{name}",
    }
    return Grant(claims, _build_answer(account_key, audiences, seconds, reference, now))


def check_node_request(
    request: Mapping[str, Any], node_name: str, objects: PolicyObjects, namespace: str
) -> None:
    """A node gets tokens for the pods that run on it, no others; ApiFailure 403."""
    reference = (request.get("spec") or {}).get("boundObjectRef") or {}
    if (reference.get("apiVersion"), reference.get("kind")) != ("v1", "Pod") or not reference.get("name"):
        raise _refuse_node("node requested token not bound to a pod")
    if not reference.get("uid"):
        raise _refuse_node("node requested token with a pod binding without a uid")
    pod = _find(POD, namespace, reference["name"], objects)
    if (pod.get("spec") or {}).get("nodeName") != node_name:
        raise _refuse_node("node requested token bound to a pod scheduled on a different node")


def _refuse_node(why: str) -> ApiFailure:
    return forbidden(SERVICE_ACCOUNT, "", why)


def _find(kind: Kind, namespace: str, name: str, objects: PolicyObjects) -> Mapping[str, Any]:
    found = objects.find(kind, namespace if kind.namespaced else "", name)
    if found is None:
        raise not_found(kind, name)
    return found


def _check_seconds(seconds: int) -> None:
    problem = ""
    if seconds < _LEAST_SECONDS:
        problem = "may not specify a duration less than 10 minutes"
    elif seconds > _MOST_SECONDS:
        problem = "may not specify a duration larger than 2^32 seconds"
    if problem:
        cause = StatusCause(
            reason="FieldValueInvalid",
            field="spec.expirationSeconds",
            message=f"Invalid value: {seconds}: {problem}",
        )
        raise invalid(TOKEN_REQUEST, "", (cause,))


def _find_bound(
    reference: Mapping[str, Any], namespace: str, account_name: str, objects: PolicyObjects
) -> dict[str, Mapping[str, Any]]:
    """What the token hangs on, by the names of its claims; a pod brings its node."""
    kind = _BINDABLE.get((reference.get("apiVersion") or "v1", reference.get("kind", "")))
    if kind is None:
        named = f"{reference.get('apiVersion', '')}, Kind={reference.get('kind', '')}"
        raise bad_request(f"cannot bind token to object of type {named}")
    found = _find(kind, namespace, reference.get("name", ""), objects)
    if reference.get("uid") and reference["uid"] != found["metadata"]["uid"]:
        raise conflict(
            kind,
            reference.get("name", ""),
            f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
            "The object might have been deleted and then recreated",
        )
    if kind != POD:
        return {kind.singular: found}
    return {"pod": found, **_find_node(found, account_name, objects)}


def _find_node(
    pod: Mapping[str, Any], account_name: str, objects: PolicyObjects
) -> dict[str, Mapping[str, Any]]:
    """The pod's node, if it is there."""
    spec = pod.get("spec") or {}
    if spec.get("serviceAccountName") != account_name:
        raise bad_request(
            f'cannot bind token for serviceaccount "{account_name}" to pod running with different '
            "serviceaccount name."
        )
    node_name = spec.get("nodeName")
    if not node_name:
        return {}
    return {"node": objects.find(NODE, "", node_name) or {"metadata": {"name": node_name}}}


def _name(object_: Mapping[str, Any]) -> Document:
    metadata = object_["metadata"]
    return {field: metadata[field] for field in ("name", "uid") if field in metadata}


def _build_answer(
    account_key: tuple[str, str],
    audiences: Sequence[str],
    seconds: int,
    reference: Mapping[str, Any] | None,
    now: datetime,
) -> Document:
    namespace, name = account_key
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": format_time(now)},
        "spec": {
            "audiences": list(audiences),
            "expirationSeconds": seconds,
            "boundObjectRef": dict(reference) if reference else None,
        },
        "status": {"expirationTimestamp": format_time(now + timedelta(seconds=seconds))},
    }


def _seconds(now: datetime) -> int:
    return int(now.timestamp())
