"""Buckets that do not answer as they should: one error, within the patience that a user has."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from helpers.cache_entries import write_flow_entry
from helpers.s3_server import s3_server
from weclick.common.config import ConfigError, complete_config
from weclick.common.errors import InputError
from weclick.common.words import masked
from weclick.store import LocalRoot, S3Root, UnreachableRootError, copy_entries
from weclick.store.roots import patience

KEY = hashlib.sha256(b"x").hexdigest()
OK = b"HTTP/1.1 200 OK\r\nContent-Type: binary/octet-stream\r\n"


@contextmanager
def served(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does the same with each connection, after it read the request. Yields its address."""
    ended = threading.Event()

    def talk(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(2**16)
                answer(connection)
            except OSError:
                return  # the other side has gone

    def accept() -> None:
        while not ended.is_set():
            try:
                threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()


def drip(connection: socket.socket, text: bytes = b"x") -> None:
    while True:
        connection.sendall(text)
        time.sleep(0.05)


def drip_body(connection: socket.socket) -> None:
    connection.sendall(OK + b"Content-Length: 1000000\r\n\r\n")
    drip(connection)


def drip_head(connection: socket.socket) -> None:
    connection.sendall(OK)
    drip(connection, b"X-A: b\r\n"[:1])


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def cut(connection: socket.socket) -> None:
    connection.sendall(OK + b"Content-Length: 1000000\r\n\r\nabc")


def redirect(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")


def fails(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"\0\1\2 no HTTP at all\r\n\r\n")


def strange_xml(connection: socket.socket) -> None:
    connection.sendall(OK + b"Content-Length: 9\r\n\r\n<a><b></a")


@pytest.fixture
def hasty(monkeypatch):
    """A user's environment, and a fifth of the patience: what ends in 4 s here ends in 20 s there."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_MAX_ATTEMPTS", raising=False)
    monkeypatch.setattr(patience, "PATIENCE_S", 3.0)


BROKEN = [drip_body, drip_head, lambda connection: time.sleep(60), reset, cut, redirect, fails, garbage]


@pytest.mark.parametrize(
    "answer", BROKEN, ids=["body", "head", "silent", "reset", "cut", "301", "500", "garbage"]
)
def test_a_broken_bucket_is_left_after_a_while(hasty, answer):
    with served(answer) as url:
        root, began = S3Root("s3://team/a", endpoint_url=url), time.monotonic()
        with pytest.raises(UnreachableRootError, match=r"s3://team/a: the bucket does not answer"):
            root.find_meta("flow", KEY)
        assert time.monotonic() - began < 15


@pytest.mark.parametrize("answer", [strange_xml, drip_body, fails], ids=["xml", "body", "500"])
def test_a_broken_listing_is_told(hasty, answer):
    with served(answer) as url, pytest.raises(UnreachableRootError, match="does not answer as it should"):
        list(S3Root("s3://team/a", endpoint_url=url).keys("flow"))


def test_a_reply_without_a_length_is_read(hasty, tmp_path):
    folder = LocalRoot(tmp_path / "mine").folder("flow", write_flow_entry(tmp_path / "mine"))

    def answer(connection: socket.socket) -> None:
        connection.sendall(OK + b"Connection: close\r\n\r\n" + (folder / "entry.json").read_bytes())

    with served(answer) as url:
        meta = S3Root("s3://team/a", endpoint_url=url).find_meta("flow", folder.name)
    assert meta == LocalRoot(tmp_path / "mine").find_meta("flow", folder.name)


def test_an_address_with_a_password_works_and_is_never_shown(tmp_path, monkeypatch):
    folder = LocalRoot(tmp_path / "mine").folder("flow", write_flow_entry(tmp_path / "mine"))
    with s3_server() as url:
        secret = url.replace("http://", "http://me:hidden@")
        monkeypatch.setenv("AWS_ENDPOINT_URL", secret)
        import boto3

        boto3.client("s3").create_bucket(Bucket="team")
        root = S3Root("s3://team/a")
        done = copy_entries([LocalRoot(tmp_path / "mine")], root, [("flow", folder.name)])
        assert (done.copied, list(root.keys("flow"))) == (1, [folder.name])
    with pytest.raises(UnreachableRootError) as failed:
        root.find_meta("flow", folder.name)
    assert "hidden" not in str(failed.value)
    assert failed.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:hidden@host:9000/x", "https://***@host:9000/x"),
        ("at 'http://hidden@host', and", "at 'http://***@host', and"),
        ("https://me:hid/den@host", "https://***@host"),
        ("https:/me:hidden@host/a", "https:/***@host/a"),
        ("https://h/?a=1&X-Amz-Signature=hidden&b=2", "https://h/?a=1&X-Amz-Signature=***&b=2"),
        ("https://h/?AWSAccessKeyId=hidden", "https://h/?AWSAccessKeyId=***"),
        ("https://AKIAIOSFODNN7HIDDEN.host", "https://***.host"),
        ("s3://team/weclick", "s3://team/weclick"),
        ("a@b: /data/x@y?", "a@b: /data/x@y?"),
    ],
)
def test_passwords_and_keys_are_masked(text, shown):
    assert masked(text) == shown


@pytest.mark.parametrize(
    "cache",
    [
        {"s3": {"endpoint_url": "https://me:hidden@host"}},
        {"s3": {"endpoint_url": "https://host/?X-Amz-Security-Token=hidden"}},
        {"roots": ["s3://me:hidden@team/a", "store"]},
        {"roots": "s3://me:hidden@team/a"},
    ],
)
def test_a_configuration_with_a_password_goes_no_further(cache):
    with pytest.raises(ConfigError, match=r"cache\.") as refused:
        complete_config({"cache": cache})
    assert "hidden" not in str(refused.value)


def test_a_root_with_a_password_is_not_shown(hasty):
    with pytest.raises(InputError, match=r"'s3://\*\*\*@team/a' is no root"):
        S3Root("s3://me:hidden@team/a")
