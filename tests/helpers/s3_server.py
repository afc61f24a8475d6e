"""An S3 server on loopback, and the environment that points to it, as a user would set it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from moto.server import ThreadedMotoServer


def start_server(port: int = 0) -> ThreadedMotoServer:
    """Start a server. Port 0 takes any free port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    return server


def name_server(patch: pytest.MonkeyPatch, server: ThreadedMotoServer) -> str:
    """Point the AWS environment to a server. Returns its address."""
    url = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        patch.setenv(name, value)
    patch.delenv("AWS_PROFILE", raising=False)
    return url


@contextmanager
def s3_server() -> Iterator[str]:
    """A server and its environment until the block ends. Yields its address."""
    server = start_server()
    try:
        with pytest.MonkeyPatch.context() as patch:
            yield name_server(patch, server)
    finally:
        server.stop()
