"""TLS and clients' certificates on both ports, and the client's error when they do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medzoo
from medzoo.errors import UserError
from medzoo.runtime.backends.credentials import redact_url, tls_error
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.serve.network import check_tls
from medzoo.serve.server import Server
from medzoo.serve.settings import Settings
from tests.unit.serve.certificates import Authority, Pair

BOTH = ("https", "grpcs")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def serve(toy_graphs: dict[str, Path], start: Callable[..., Server]) -> Callable[..., dict[str, str]]:
    def run(pair: Pair, **more: Any) -> dict[str, str]:
        backends = [OnnxBackend(toy_graphs["segment"], device="cpu", threads=1)]
        server = start(backends, certificate=pair.certificate, key=pair.key, **more)
        ports = {"https": server.http_port, "grpcs": server.grpc_port}
        return {scheme: f"{scheme}://127.0.0.1:{port}/toy-segment" for scheme, port in ports.items()}

    return run


def answered(url: str) -> bool:
    image = np.zeros((4, 5), np.float32)
    image[1, 2] = 200
    return bool(np.array_equal(medzoo.load(url).predict(image).mask, image > 100))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("expired", "its certificate has expired"),
        ("other host", "its certificate is for another host"),
        ("other authority", "its certificate is not signed by a trusted authority"),
    ],
)
def test_a_server_certificate_that_does_not_fit_gives_one_line(
    authority: Authority,
    serve: Callable[..., dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    words: str,
) -> None:
    hosts = ("example.org",) if kind == "other host" else ("localhost", "127.0.0.1")
    urls = serve(authority.sign("server", hosts=hosts, expired=kind == "expired"))
    trusted = Authority(tmp_path, "another") if kind == "other authority" else authority
    monkeypatch.setenv("MEDZOO_CA", str(trusted.certificate))
    for scheme in BOTH:
        with pytest.raises(UserError) as caught:
            medzoo.load(urls[scheme])
        assert str(caught.value).startswith(f"{urls[scheme]}: cannot connect to the server: {words}"), scheme
        assert "\n" not in str(caught.value)


def test_clients_show_a_certificate_which_names_them(
    authority: Authority,
    serve: Callable[..., dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = tmp_path / "audit"
    urls = serve(authority.sign("server"), client_ca=authority.certificate, audit_log=log)
    monkeypatch.setenv("MEDZOO_CA", str(authority.certificate))
    other = Authority(tmp_path, "another")
    for pair in (None, other.sign("mallory"), authority.sign("bob", expired=True)):
        for name, path in (("MEDZOO_CERT", pair and pair.certificate), ("MEDZOO_KEY", pair and pair.key)):
            monkeypatch.setenv(name, str(path or ""))
        for scheme in BOTH:
            with pytest.raises(UserError):
                medzoo.load(urls[scheme])
    failed = [json.loads(line) for line in log.read_text().splitlines()]
    assert {(line["protocol"], line["outcome"], line["model"]) for line in failed} == {("tls", "unauthenticated", "")}
    reasons = {line["error"] for line in failed}
    assert {"PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_VERIFY_FAILED"} <= reasons
    log.write_text("")
    for name in ("alice", "the ward 7 scanner"):
        pair = authority.sign(name)
        monkeypatch.setenv("MEDZOO_CERT", str(pair.certificate))
        monkeypatch.setenv("MEDZOO_KEY", str(pair.key))
        assert all(answered(urls[scheme]) for scheme in BOTH)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    # A name that could be anything is not written down.
    assert {(line["protocol"], line["client"]) for line in lines} == {
        *(("http", name) for name in ("alice", "certificate")),
        *(("grpc", name) for name in ("alice", "certificate")),
    }


def test_plain_clients_and_servers_do_not_mix(
    authority: Authority, serve: Callable[..., dict[str, str]], toy_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDZOO_CA", str(authority.certificate))
    urls = serve(authority.sign("server"))
    plain = {
        "https": f"https://127.0.0.1:{toy_server.http_port}/toy-segment",
        "grpcs": f"grpcs://127.0.0.1:{toy_server.grpc_port}/toy-segment",
        "http": urls["https"].replace("https", "http"),
        "grpc": urls["grpcs"].replace("grpcs", "grpc"),
    }
    for url in plain.values():
        with pytest.raises(UserError) as caught:
            medzoo.load(url)
        assert str(caught.value).startswith(f"{url}: ")
    with pytest.raises(UserError, match="does not speak TLS"):
        medzoo.load(plain["https"])
    assert all(answered(urls[scheme]) for scheme in BOTH)


@pytest.mark.parametrize("scheme", BOTH)
def test_files_of_a_client_that_cannot_be_used_are_named(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    damaged, pair, other = tmp_path / "damaged.pem", authority.sign("alice"), authority.sign("bob")
    damaged.write_text("no certificate\n")
    for given, words in (
        ({"MEDZOO_CA": str(tmp_path / "none.pem")}, "MEDZOO_CA.*cannot load CA certificates"),
        ({"MEDZOO_CA": str(damaged)}, "MEDZOO_CA.*cannot load CA certificates"),
        ({"MEDZOO_CERT": str(pair.certificate)}, "needs its key"),
        (
            {"MEDZOO_CERT": str(pair.certificate), "MEDZOO_KEY": str(other.key)},
            "cannot load the certificate and its key",
        ),
        ({"MEDZOO_CERT": str(damaged), "MEDZOO_KEY": str(pair.key)}, "cannot load the certificate and its key"),
    ):
        with monkeypatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            with pytest.raises(UserError, match=words) as caught:
                medzoo.load(f"{scheme}://127.0.0.1:9/x")
            assert "\n" not in str(caught.value)


def test_files_of_a_server_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    pair, other, damaged = authority.sign("server"), authority.sign("other"), tmp_path / "damaged.pem"
    damaged.write_text("no certificate\n")
    good = Settings(certificate=pair.certificate, key=pair.key, client_ca=authority.certificate)
    check_tls(good)
    for change, words in (
        ({"key": None}, "both a certificate and a key"),
        ({"certificate": None}, "both a certificate and a key"),
        ({"certificate": None, "key": None}, "client certificates need TLS"),
        ({"key": other.key}, "cannot load the certificate and its key"),
        ({"certificate": tmp_path / "none.pem"}, "none.pem.*cannot load the certificate and its key"),
        ({"client_ca": damaged}, "damaged.pem: cannot load CA certificates"),
        ({"client_ca": tmp_path / "none.pem"}, "none.pem: cannot load CA certificates"),
    ):
        with pytest.raises(UserError, match=words):
            check_tls(replace(good, **change))


def test_a_token_comes_from_the_environment_or_a_file_and_is_never_shown(
    toy_graphs: dict[str, Path], start: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start([OnnxBackend(toy_graphs["segment"], device="cpu")], token="the words")
    urls = [f"http://127.0.0.1:{server.http_port}/toy-segment", f"grpc://127.0.0.1:{server.grpc_port}/toy-segment"]
    path = tmp_path / "token"
    path.write_text("the words\n")
    for url in urls:
        with monkeypatch.context() as patch:
            patch.setenv("MEDZOO_TOKEN_FILE", str(path))
            assert answered(url)
            patch.setenv("MEDZOO_TOKEN", "other-words")  # the variable itself comes first
            with pytest.raises(UserError, match="bearer token") as caught:
                medzoo.load(url)
            assert "other-words" not in str(caught.value)
        for name, value in (
            ("MEDZOO_TOKEN_FILE", str(tmp_path / "none")),
            ("MEDZOO_TOKEN_FILE", str(tmp_path)),
            ("MEDZOO_TOKEN", "hidden\nX-Other: 1"),
            ("MEDZOO_TOKEN", "hidden-ä"),
        ):
            with monkeypatch.context() as patch:
                patch.setenv(name, value)
                with pytest.raises(UserError, match=name) as caught:
                    medzoo.load(url)
                assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://alice:hidden@127.0.0.1:8000/x",
        "http://:hidden@127.0.0.1:8000/x",
        "grpc://hidden@127.0.0.1/x",
        "https://127.0.0.1/x?token=hidden",
        "http://127.0.0.1:hidden/x",
        "http://a:hidden@[::1/x",
    ],
)
def test_an_address_with_a_secret_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(UserError) as caught:
        medzoo.load(url)
    if ":hidden/" not in url:  # a port that is no number is no secret
        assert "hidden" not in str(caught.value)
    assert "@" not in redact_url(url)


def test_other_failures_are_not_taken_for_tls() -> None:
    for words in ("Connection refused", "failed to connect to all addresses", "timed out"):
        assert tls_error(words, where="x") is None
