"""Uploads by HTTP: what is wrong with a form is named."""

from __future__ import annotations

import io
from typing import Any

import pytest
from flask.testing import FlaskClient

LIMIT = 2**20
HEAD = '--B\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "file_limit": 1}


def form(size: int, fields: dict[str, str]) -> bytes:
    parts = [HEAD.format(name, "", value) for name, value in fields.items()]
    file = HEAD.format("file", '; filename="a"', "x" * size)
    return "".join([*parts, file, "--B--\r\n"]).encode()


PURPOSE = {"purpose": "user_data"}
MANY = {f"field{number}": "x" for number in range(1100)}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("size", "fields", "status", "said"),
    [
        (10, PURPOSE, 200, "user_data"),
        (LIMIT, PURPOSE, 200, "user_data"),
        (LIMIT + 1, PURPOSE, 413, "The file is larger than 1 MB"),
        (3 * LIMIT, PURPOSE, 413, "The file is larger than 1 MB"),
        (10, PURPOSE | MANY, 400, "too many fields"),
        (10, {"purpose": "x" * 700_000}, 400, "too long ones"),
    ],
)
def test_what_is_too_much_is_named(
    client: FlaskClient, chunked: bool, size: int, fields: dict[str, str], status: int, said: str
) -> None:
    body = form(size, fields)
    sent: dict[str, Any] = {"data": body}
    if chunked:
        sent = {"input_stream": io.BytesIO(body), "environ_overrides": {"wsgi.input_terminated": True}}
    response = client.post("/v1/files", content_type="multipart/form-data; boundary=B", **sent)
    assert response.status_code == status and said in response.text


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_an_upload_is_taken_plain(client: FlaskClient, coding: str) -> None:
    response = client.post(
        "/v1/files",
        data=form(10, PURPOSE),
        content_type="multipart/form-data; boundary=B",
        headers={"Content-Encoding": coding},
    )
    assert response.status_code == 415 and "Content-Encoding" in response.get_json()["error"]["message"]
