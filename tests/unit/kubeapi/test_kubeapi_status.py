from __future__ import annotations

import msgspec
import pytest

from kubeapi.status import (
    HTTP_CODES,
    Reason,
    StatusCause,
    build_details,
    build_failure,
    build_success,
    encode_status,
    parse_status,
)


def test_a_failure_as_clients_expect_it() -> None:
    details = build_details(
        group="",
        kind="pods",
        name="web",
        causes=(StatusCause(reason="FieldValueInvalid", message="must be positive", field="spec.x"),),
    )
    document = msgspec.json.decode(encode_status(build_failure(Reason.INVALID, "no", details=details)))
    assert document == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "no",
        "reason": "Invalid",
        "details": {
            "name": "web",
            "kind": "pods",
            "causes": [{"reason": "FieldValueInvalid", "message": "must be positive", "field": "spec.x"}],
        },
        "code": 422,
    }


def test_a_success() -> None:
    document = msgspec.json.decode(encode_status(build_success()))
    assert (document["status"], document["code"]) == ("Success", 200)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.UNKNOWN])
def test_every_reason_survives_the_wire(reason: Reason) -> None:
    status = parse_status(encode_status(build_failure(reason, "why")), 0)
    assert (status.reason, status.code, status.message) == (reason, HTTP_CODES[reason], "why")


@pytest.mark.parametrize(
    ("body", "code", "reason", "message"),
    [
        (b"", 503, "ServiceUnavailable", "the server answered 503 without a message"),
        (b"<html>\nBad\n</html>", 500, "InternalError", "the server answered 500: <html> Bad </html>"),
        (b'{"kind":"Pod"}', 404, "NotFound", 'the server answered 404: {"kind":"Pod"}'),
        (b"\xff", 418, "", "the server answered 418: \ufffd"),
    ],
)
def test_an_answer_without_a_status(body: bytes, code: int, reason: str, message: str) -> None:
    status = parse_status(body, code)
    assert (status.code, status.reason, status.message) == (code, reason, message)
