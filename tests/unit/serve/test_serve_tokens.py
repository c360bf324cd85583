"""Tokens by client: made, checked, and revoked while the server runs."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from medzoo.errors import UserError
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.serve.server import Server
from medzoo.serve.tokens import Tokens, add_token, parse_tokens, revoke_tokens
from tests.unit.serve.test_serve_http import question


def tokens_file(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def salted(name: str, token: str, salt: bytes = b"12345678") -> str:
    return f"{name}:sha256${salt.hex()}${hashlib.sha256(salt + token.encode()).hexdigest()}\n"


def test_a_token_names_its_client_in_plain_text_or_as_a_digest(tmp_path: Path) -> None:
    text = "\ufeff# clients\n\nalice:first-token\n" + salted("bob", "second-token") + salted("alice", "third:token")
    tokens = Tokens(tokens_file(tmp_path / "tokens", text), single="all of us")
    found = {token: tokens.client(token) for token in ("first-token", "second-token", "third:token", "all of us")}
    assert found == {"first-token": "alice", "second-token": "bob", "third:token": "alice", "all of us": "token"}
    for wrong in ("", "first", "first-token ", "FIRST-TOKEN", "second-tokem", "alice", text, "\ud800", "é"):
        assert tokens.client(wrong) is None
    assert tokens.client("first-token") == "alice"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("alice\n", 1),
        ("alice:\n", 1),
        ("alice: token\n", 1),
        ("# a\nal ice:token\n", 2),
        (":token\n", 1),
        ("alice:sha256$zz$00\n", 1),
        ("alice:sha256$" + "0" * 17 + "$" + "0" * 64 + "\n", 1),
        (salted("a", "t")[:-2] + "\n", 1),
        ("alice:same-token\nbob:same-token\n", 2),
        ("<html>\n", 1),
    ],
)
def test_a_line_that_is_no_token_is_named_and_not_shown(text: str, place: int) -> None:
    with pytest.raises(UserError) as caught:
        parse_tokens(text, where="tokens")
    assert str(caught.value).startswith(f"tokens:{place}: ")
    assert "same-token" not in str(caught.value)
    assert "html" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666])
def test_a_file_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tokens_file(tmp_path / "tokens", "alice:token\n")
    path.chmod(mode)
    with pytest.raises(UserError, match="chmod 600"):
        Tokens(path)


def test_a_file_without_tokens_or_none_at_all_is_refused_at_the_start(tmp_path: Path) -> None:
    for path in (tokens_file(tmp_path / "empty", "# nobody\n"), tmp_path / "missing", tmp_path):
        with pytest.raises(UserError) as caught:
            Tokens(path)
        assert str(caught.value).startswith(str(path))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tokens_file(tmp_path / "tokens", "alice:one\nbob:two\n")
    os.utime(path, (1, 1))  # long ago: its times tell a change from now on
    tokens = Tokens(path)
    assert tokens.client("one") == "alice"
    path.write_text("bob:two\n")  # shorter, in place
    assert tokens.client("one") is None
    assert tokens.client("two") == "bob"
    path.write_text("bob:new\n")  # as long as before, at once
    assert tokens.client("two") is None
    assert tokens.client("new") == "bob"
    tokens_file(tmp_path / "next", "carol:three\n").replace(path)
    assert tokens.client("new") is None
    assert tokens.client("three") == "carol"
    path.write_text("# nobody\n")  # everyone is locked out
    assert tokens.client("three") is None


@pytest.mark.parametrize("damage", ["text", "mode", "missing", "bytes", "cut"])
def test_a_broken_file_keeps_the_tokens_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = tokens_file(tmp_path / "tokens", salted("alice", "one"))
    os.utime(path, (1, 1))
    tokens = Tokens(path)
    if damage == "missing":
        path.unlink()
    elif damage == "mode":
        path.chmod(0o644)
    elif damage == "bytes":
        path.write_bytes(b"\xff\xfe")
    else:
        path.write_text(salted("alice", "two")[:60] if damage == "cut" else "secret words of nobody\n")
    with caplog.at_level(logging.INFO, "medzoo.serve"):
        for _ in range(3):
            assert tokens.client("one") == "alice"
            assert tokens.client("two") is None
    (record,) = [one for one in caplog.records if one.getMessage() == "token file invalid, keeping the previous tokens"]
    assert record.levelno == logging.ERROR
    assert "secret" not in json.dumps(record.facts)  # type: ignore[attr-defined]
    tokens_file(path, "alice:two\n")
    assert tokens.client("two") == "alice"
    assert tokens.client("one") is None


def test_a_token_is_made_and_revoked(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    first, line = add_token("alice", path)
    assert path.read_text() == f"{line}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert first not in path.read_text()
    with path.open("a") as file:
        file.write("# kept\nbob:two\n")
    second, _ = add_token("alice", path)
    tokens = Tokens(path)
    assert [tokens.client(token) for token in (first, second, "two")] == ["alice", "alice", "bob"]
    assert revoke_tokens("alice", path) == 2
    assert [tokens.client(token) for token in (first, second, "two")] == [None, None, "bob"]
    assert path.read_text() == "# kept\nbob:two\n"
    with pytest.raises(UserError, match="no token for"):
        revoke_tokens("alice", path)
    for wrong in ("", "a b", "a:b", "-a", "ä", "a" * 65):
        with pytest.raises(UserError, match="is not a valid client name"):
            add_token(wrong, path)
    tokens_file(path, "not tokens at all\n")
    with pytest.raises(UserError, match="tokens:1"):
        add_token("alice", path)
    assert path.read_text() == "not tokens at all\n"


def test_the_command_makes_and_revokes(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "medzoo", "token", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    path = tmp_path / "tokens"
    made = run("alice", "--tokens", str(path))
    assert made.returncode == 0
    assert Tokens(path).client(made.stdout.strip()) == "alice"
    alone = run("bob")
    assert re.search(r"bob:sha256\$[0-9a-f]{32}\$[0-9a-f]{64}\n", alone.stderr)
    assert alone.stdout.strip() not in alone.stderr
    assert run("alice", "--tokens", str(path), "--revoke").returncode == 0
    assert path.read_text() == ""
    for arguments in (("alice", "--revoke"), ("alice", "--tokens", str(path), "--revoke"), ("a b",)):
        refused = run(*arguments)
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1


def test_clients_of_a_server_by_name(toy_graphs: dict[str, Path], start: Callable[..., Server], tmp_path: Path) -> None:
    import tritonclient.grpc as by_grpc
    from tritonclient.utils import InferenceServerException

    path = tokens_file(tmp_path / "tokens", "alice:one\nbob:two\n")
    server = start([OnnxBackend(toy_graphs["segment"], device="cpu")], tokens=path)
    infer = "/v2/models/toy-segment/infer"

    def by(token: str, scheme: str = "Bearer") -> dict[str, str]:
        return {"Authorization": f"{scheme} {token}"}

    with httpx.Client(base_url=f"http://127.0.0.1:{server.http_port}") as web:
        assert web.get("/v2/health/live").status_code == 200
        assert web.post(infer, json=question(), headers=by("one")).status_code == 200
        assert web.post(infer, json=question(), headers=by("two", "bearer")).status_code == 200
        for headers in ({}, by("three"), by("one", "Basic"), {"Authorization": "one"}, {"Authorization": "Bearer"}):
            refused = web.post(infer, json=question(), headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        twice = web.post(infer, json=question(), headers=[("Authorization", "Bearer one"), ("Authorization", "x")])
        assert twice.status_code == 400
        with by_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
            assert client.is_server_live()
            assert client.get_model_metadata("toy-segment", headers={"authorization": "Bearer one"})
            for metadata in (None, {"authorization": "Bearer three"}, {"authorization": "one"}):
                with pytest.raises(InferenceServerException, match="bearer token") as caught:
                    client.get_model_metadata("toy-segment", headers=metadata)
                assert "UNAUTHENTICATED" in str(caught.value.status())
            revoke_tokens("alice", path)
            with pytest.raises(InferenceServerException, match="bearer token"):
                client.get_model_metadata("toy-segment", headers={"authorization": "Bearer one"})
        assert web.post(infer, json=question(), headers=by("one")).status_code == 401
        metrics = web.get("/metrics", headers=by("two")).text
    assert 'medzoo_client_requests_total{client="alice",outcome="ok"} 1.0' in metrics
    assert 'medzoo_client_requests_total{client="bob",outcome="ok"} 1.0' in metrics
    assert 'medzoo_requests_total{model="",outcome="unauthenticated",protocol="http"} 6.0' in metrics
