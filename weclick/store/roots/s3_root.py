"""A root of the store in an S3 bucket, at Amazon or behind any other endpoint of that protocol.

Files of an entry lie at `<prefix>/<kind>/v1/<kk>/<key>/<digest>/<file>`. The digest is that of their
entry.json, so two publishers of one key never write the same object. `entry.json` itself is put last, at
`.../<key>/entry.json`, on the condition that there is none. The first publisher to put it made the entry.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from weclick.common.errors import InputError, room_to_write
from weclick.common.words import masked
from weclick.store.entries import read_meta_file
from weclick.store.meta import KINDS, LAYOUT, META, META_BYTES, damaged, entry_name, is_safe_name, parse_meta
from weclick.store.roots.patience import BLOCK_BYTES, CONNECT_S, REPLY_S, SlowError, in_time
from weclick.store.signatures import SIGNATURE_BYTES, SIGNERS, signature_name
from weclick.store.verify import verify_entry

FILES_AT_ONCE = 8
CONNECTIONS = 64
_ADDRESS = re.compile(r"s3:/+([a-z0-9][a-z0-9.-]+[a-z0-9])/*(.*?)/*")
_MISSING = ("NoSuchKey", "404")
_LOST = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


class UnreachableRootError(InputError):
    """A bucket does not answer, or forbids a request."""


def is_bucket(root: object) -> bool:
    """Whether a root's name is an address such as s3://team/weclick."""
    return str(root).startswith("s3:/")


class S3Root:
    """Entries in a bucket, with the methods of `LocalRoot`. Threads may share it.

    Args:
        address: s3://bucket/prefix; the prefix may be empty.
        endpoint_url: of another service than Amazon's; None takes AWS_ENDPOINT_URL or Amazon.
        region: None takes AWS_REGION or that of the AWS profile.

    Raises:
        InputError: the address is malformed, or boto3 is not installed.
    """

    def __init__(self, address: str, *, endpoint_url: str | None = None, region: str | None = None):
        found = _ADDRESS.fullmatch(address)
        if not found or (found[2] and not is_safe_name(found[2])):
            raise InputError(
                f"{masked(address)!r} is no root of the store, expected s3://bucket or s3://bucket/prefix"
            )
        self._bucket, self._prefix = found[1], f"{found[2]}/" if found[2] else ""
        self._client = _connect(endpoint_url, region)

    def __str__(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def address(self, kind: str, key: str) -> str:
        """The address of an entry, for people."""
        return f"{self}/{entry_name(kind, key)}"

    def find_meta(self, kind: str, key: str) -> dict[str, Any] | None:
        """The entry.json of an entry, or None if there is no such entry.

        Raises:
            DamagedEntryError: it is not what was committed.
            UnreachableRootError: the bucket does not answer.
        """
        where = self.address(kind, key)
        with self._reached():
            try:
                data = self._read(f"{entry_name(kind, key)}/{META}", META_BYTES + 1)
            except self._client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return None
                raise
        if len(data) > META_BYTES:
            raise damaged(where, f"{META} is longer than {META_BYTES} bytes")
        return parse_meta(data, where, kind, key)

    def keys(self, kind: str) -> Iterator[str]:
        """Keys of all committed entries of a kind, in order."""
        committed = re.compile(rf"{kind}/{LAYOUT}/([0-9a-f]{{2}})/(\1[0-9a-f]{{62}})/{META}")
        for name, _ in self._list(f"{kind}/{LAYOUT}/") if kind in KINDS else ():
            if found := committed.fullmatch(name):
                yield found[2]

    def export(self, meta: Mapping[str, Any], folder: Path) -> None:
        """Download an entry's files, and no others, into an empty folder.

        Raises:
            DamagedEntryError: a file is missing, or has another size.
            DiskFullError: there is no room.
        """
        kind, key = meta["kind"], meta["key"]
        for name in meta["files"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)

        def download(name: str) -> None:
            expected = meta["files"][name]["bytes"]
            with (folder / name).open("wb") as file:
                found = self._fetch(f"{_data_name(meta)}/{name}", file, expected + 1)
            if found != expected:
                fault = f"{name} has {found if found < expected else 'more'} bytes, expected {expected}"
                raise damaged(self.address(kind, key), fault)

        with self._reached(), room_to_write(folder):
            try:
                _each(download, meta["files"])
            except self._client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    fault = f"{error.response['Error'].get('Key', 'a file')} is missing"
                    raise damaged(self.address(kind, key), fault) from error
                raise
            (folder / META).write_bytes(self._read(f"{entry_name(kind, key)}/{META}", META_BYTES))

    @contextmanager
    def workspace(self, kind: str, key: str) -> Iterator[Path]:
        """An empty folder of this machine, to fill and commit. It is removed after the block."""
        with tempfile.TemporaryDirectory(prefix="weclick-") as folder:
            yield Path(folder)

    def commit(self, folder: Path, kind: str, key: str) -> bool:
        """Upload an entry. Files that are already there are not sent again, and entry.json goes last.

        Returns:
            False if somebody committed the same key meanwhile: theirs stays.

        Raises:
            UnreachableRootError: the bucket does not answer; a second call goes on where this one stopped.
        """
        data = read_meta_file(folder)
        meta = parse_meta(data, folder, kind, key)
        with self._reached():
            there = dict(self._list(f"{_data_name(meta)}/"))
            lacking = [
                name
                for name, file in meta["files"].items()
                if there.get(f"{_data_name(meta)}/{name}") != file["bytes"]
            ]
            _each(lambda name: self._send(folder / name, f"{_data_name(meta)}/{name}"), lacking)
            won = self._put_new(f"{entry_name(kind, key)}/{META}", data)
            self._sweep(kind, key, meta if won else self.find_meta(kind, key))
        return won

    def faults(self, kind: str, key: str) -> list[str]:
        """As `verify_entry`, for the entry's files as they arrive here."""
        where = self.address(kind, key)
        try:
            meta = self.find_meta(kind, key)
            assert meta is not None  # it was listed
            with self.workspace(kind, key) as folder:
                self.export(meta, folder)
                return [fault.replace(str(folder), where) for fault in verify_entry(folder, kind, key)]
        except UnreachableRootError:
            raise
        except InputError as error:
            return [str(error)]

    def signatures(self, kind: str, key: str, signers: Collection[str] = ()) -> list[bytes]:
        """The signatures of an entry by some signers, or by all: small objects."""
        start, found = f"{signature_name(kind, key)}.", []
        names = [start + signer for signer in signers]
        for name in names or [name for name, _ in islice(self._list(start), SIGNERS)]:
            with self._reached():
                try:
                    found.append(self._read(name, SIGNATURE_BYTES))
                except self._client.exceptions.ClientError as error:
                    if error.response["Error"]["Code"] not in _MISSING:
                        raise
        return found

    def add_signature(self, kind: str, key: str, signer: str, data: bytes) -> None:
        """Put a signature of an entry there. It replaces an earlier one of that signer."""
        name = f"{self._prefix}{signature_name(kind, key)}.{signer}"
        with self._reached():
            self._client.put_object(Bucket=self._bucket, Key=name, Body=data)

    def _fetch(self, name: str, file: BinaryIO, most: int) -> int:
        """Write an object into a file, no more than `most` bytes of it, and return how many."""

        def fetch(count: Callable[[int], Any]) -> int:
            found, left = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name), most
            with closing(found["Body"]) as body:
                while left and (block := body.read(min(BLOCK_BYTES, left))):
                    count(len(block))
                    file.write(block)
                    left -= len(block)
            return most - left

        return in_time(fetch)

    def _read(self, name: str, most: int) -> bytes:
        """An object, no more than `most` bytes of it."""
        file = io.BytesIO()
        self._fetch(name, file, most)
        return file.getvalue()

    def _send(self, file: Path, name: str) -> None:
        from boto3.s3.transfer import TransferConfig

        alone = TransferConfig(use_threads=False)  # its threads would outlive a request
        in_time(
            lambda count: self._client.upload_file(
                str(file), self._bucket, self._prefix + name, Callback=count, Config=alone
            )
        )

    def _put_new(self, name: str, data: bytes) -> bool:
        """Put an object; False if there is one already."""
        try:
            in_time(
                lambda _: self._client.put_object(
                    Bucket=self._bucket, Key=self._prefix + name, Body=data, IfNoneMatch="*"
                )
            )
        except self._client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in _LOST:
                return False
            raise
        return True

    def _sweep(self, kind: str, key: str, winner: Mapping[str, Any] | None) -> None:
        """Delete what other publishers of a committed entry left: it can never be committed."""
        if winner is None:
            return
        kept = (f"{_data_name(winner)}/", f"{entry_name(kind, key)}/{META}")
        for name, _ in list(self._list(f"{entry_name(kind, key)}/")):
            if not name.startswith(kept):
                self._delete(name)

    def _delete(self, name: str) -> None:
        in_time(lambda _: self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name))

    def _list(self, name: str) -> Iterator[tuple[str, int]]:
        """Name below the root and bytes of every object whose name begins with `name`."""
        with self._reached():
            pages = self._client.get_paginator("list_objects_v2")
            listing = iter(pages.paginate(Bucket=self._bucket, Prefix=self._prefix + name))
            while page := in_time(lambda _: next(listing, None)):
                for found in page.get("Contents", ()):
                    yield found["Key"].removeprefix(self._prefix), found["Size"]

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turn errors of boto3 into one sentence that says what to do."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            yield
        except (
            BotoCoreError,
            ClientError,
            Boto3Error,
            ResponseParserError,
            SlowError,
            RecursionError,
        ) as error:
            endless = isinstance(error, RecursionError)  # boto3 asks again for each redirection
            told = "it redirects without end" if endless else masked(" ".join(str(error).split())[:400])
            raise UnreachableRootError(
                f"{self}: the bucket does not answer as it should ({told}); check network, cache.s3 or "
                "AWS_ENDPOINT_URL, and that your AWS credentials may list and read it (and write, to "
                "publish); or drop it from cache.roots"
            ) from None  # its own text may hold a password


def _data_name(meta: Mapping[str, Any]) -> str:
    """Where one publisher's files of an entry lie below the root."""
    return f"{entry_name(meta['kind'], meta['key'])}/{meta['digest'][:16]}"


def _connect(endpoint_url: str | None, region: str | None) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise InputError(
            "cache.roots names a bucket (s3://...), which needs boto3: pip install 'weclick[s3]', or drop it"
        ) from error
    options = Config(
        connect_timeout=CONNECT_S,
        read_timeout=REPLY_S,
        retries={"mode": "standard"},
        max_pool_connections=CONNECTIONS,
        request_checksum_calculation="when_required",  # services beside Amazon's refuse newer checksums
        response_checksum_validation="when_required",
    )
    session = _session(boto3.session.Session)
    try:
        return session.client("s3", endpoint_url=endpoint_url, region_name=region, config=options)
    except (BotoCoreError, ValueError) as error:
        raise InputError(
            f"the service of cache.s3 cannot be used ({masked(str(error))}); give endpoint_url an address "
            "such as http://minio:9000, and check your AWS settings"
        ) from None


def _each(call: Callable[[str], Any], names: Iterable[str]) -> None:
    """Call for each name, some at once. The first failure keeps those from beginning that have not begun."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        begun = [pool.submit(call, name) for name in names]
        try:
            for each in begun:
                each.result()
        finally:
            pool.shutdown(cancel_futures=True)


@cache
def _session(make: Callable[[], Any]) -> Any:
    """Make the session once, since it reads a megabyte of service descriptions."""
    return make()
