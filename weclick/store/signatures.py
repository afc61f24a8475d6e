"""Signatures of entries: who vouches for one. Digests find damage; a signature tells who wrote the digest.

A signature is the file `<root>/signatures/<kind>/v1/<kk>/<key>.<signer>`, one for each signer. It lies beside
the entries, so a signer needs no right to write into an entry, and readers without keys never open it.
Ed25519 signs the layout, the kind, the key and the digest of entry.json, which covers the SHA-256 of each of
the entry's files. Keys are those of OpenSSH (`ssh-keygen -t ed25519`).
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from weclick.common.digest import canonical_json
from weclick.common.errors import InputError, MissingFileError
from weclick.store.meta import LAYOUT, entry_name

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

VERSION = 1
SIGNATURE_BYTES = 4096
"""The longest signature that is read."""

SIGNERS = 16
"""So many signatures of an entry are read at most."""

KEY_BYTES = 64 * 2**10
"""The longest file of keys that is read."""

SIGNED, UNSIGNED, OTHER_KEY, UNFIT = (
    "signed",
    "unsigned",
    "signed by another key",
    "with a signature that does not fit",
)
"""What `Trust.judge` says of an entry."""

_ALGORITHM = "ssh-ed25519"


class Signed(Protocol):
    """A root, as far as signatures need it."""

    def signatures(self, kind: str, key: str, signers: Collection[str] = ()) -> list[bytes]:
        """The signatures of an entry, as they were put there: of some signers, or SIGNERS of all."""

    def add_signature(self, kind: str, key: str, signer: str, data: bytes) -> None:
        """Put a signature there. It replaces an earlier one of that signer."""


def signature_name(kind: str, key: str) -> str:
    """How the names of an entry's signatures below its root begin; a dot and the signer follow."""
    return f"signatures/{entry_name(kind, key)}"


def sign_entry(root: Signed, meta: Mapping[str, Any], key: Ed25519PrivateKey) -> None:
    """Put a signature of an entry into its root.

    Args:
        root: that holds the entry.
        meta: the entry.json that its reader has checked.
        key: of the signer.
    """
    public = _raw(key.public_key())
    value = {
        "weclick_signature": VERSION,
        "digest": meta["digest"],
        "public_key": public.hex(),
        "signature": key.sign(_message(meta)).hex(),
    }
    root.add_signature(meta["kind"], meta["key"], _signer(public.hex()), json.dumps(value).encode())


def carry_signatures(source: Signed, target: Signed, meta: Mapping[str, Any]) -> None:
    """Copy the signatures of an entry that are made for this content, except those that are there."""
    given = _of_content(source, meta)
    there = _of_content(target, meta) if given else {}
    for public, data in given.items():
        if public not in there:
            target.add_signature(meta["kind"], meta["key"], _signer(public), data)


def by_sha256(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """An entry.json whose files readers compare with their SHA-256.

    Otherwise readers compare CRC-32C, which is quicker. It finds damage, but anybody can forge it.
    """
    return {**meta, "files": {name: {**file, "crc32c": None} for name, file in meta["files"].items()}}


class Trust:
    """Decides which entries of others are read: those that one of the trusted keys has signed.

    Args:
        keys: of `cache.trusted_keys`: public keys as `ssh-ed25519 AAAA...`, or files that hold such lines.
            Without keys, nothing is asked for.

    Raises:
        InputError: one of them is no Ed25519 key, or cryptography is not installed.
    """

    def __init__(self, keys: Sequence[str] = ()):
        self._given = tuple(keys)
        self._keys = {_raw(key).hex(): key for text in keys for key in _public_keys(text)}
        self._signers = [_signer(public) for public in self._keys]
        self._refused: Counter[tuple[str, str]] = Counter()
        self._seen: set[tuple[str, str, str]] = set()
        self._mutex = threading.Lock()
        if self._keys:
            atexit.register(self.tell)

    def __reduce__(self) -> tuple[type[Trust], tuple[tuple[str, ...]]]:
        """Pickled for another process, which counts and tells for itself."""
        return Trust, (self._given,)

    def __bool__(self) -> bool:
        """Whether signatures are asked for."""
        return bool(self._keys)

    def judge(self, root: Signed, meta: Mapping[str, Any]) -> str:
        """Whether one of the keys has signed an entry: SIGNED, UNSIGNED, OTHER_KEY or UNFIT."""
        where = meta["kind"], meta["key"]
        ours = [value for data in root.signatures(*where, self._signers) if (value := _parse(data))]
        if any(self._fits(value, meta) for value in ours):
            return SIGNED
        return UNFIT if ours else OTHER_KEY if any(map(_parse, root.signatures(*where))) else UNSIGNED

    def accepts(self, root: Signed, meta: Mapping[str, Any]) -> bool:
        """Whether an entry of a root may be read. Those that may not are counted, see `tell`."""
        why = SIGNED if not self else self.judge(root, meta)
        if why == SIGNED:
            return True
        seen = (str(root), meta["kind"], meta["key"])
        with self._mutex:
            if seen not in self._seen:
                self._seen.add(seen)
                self._refused[str(root), why] += 1
        return False

    def strict(self, meta: Mapping[str, Any]) -> Mapping[str, Any]:
        """As `by_sha256` where signatures are asked for; otherwise the same entry.json."""
        return by_sha256(meta) if self else meta

    def tell(self) -> None:
        """Print on stderr how many entries of which root were not read, since this was last told."""
        with self._mutex:
            refused, self._refused = self._refused, Counter()
        for root in dict.fromkeys(root for root, _ in refused):
            counts = ", ".join(f"{count} {why}" for (where, why), count in refused.items() if where == root)
            print(
                f"weclick: warning: {root}: not read, as no key of cache.trusted_keys signed it: {counts}",
                file=sys.stderr,
                flush=True,
            )

    def _fits(self, value: Mapping[str, str], meta: Mapping[str, Any]) -> bool:
        from cryptography.exceptions import InvalidSignature

        key = self._keys.get(value["public_key"])
        try:
            if key:
                key.verify(bytes.fromhex(value["signature"]), _message(meta))
        except (InvalidSignature, ValueError):
            return False
        return key is not None


def make_key(path: Path) -> str:
    """Write a new private key, readable by its owner alone, and the public one beside it as `<path>.pub`.

    Returns:
        The public key, one line.

    Raises:
        InputError: one of the files is there, or cryptography is not installed.
    """
    _need_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public_file = path.with_name(f"{path.name}.pub")
    for file in (path, public_file):
        if os.path.lexists(file):
            raise InputError(f"{file}: is there already; name another file, so that no key is lost")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(private)
    text = spell_key(key.public_key())
    public_file.write_text(text + "\n", encoding="ascii")
    return text


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read the private key of a signer, as `make_key` or ssh-keygen writes it.

    Raises:
        MissingFileError: there is no such file.
        InputError: it holds no private Ed25519 key, has a passphrase, or others may read it.
    """
    _need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    data = _read(path)
    if path.stat().st_mode & 0o077:
        raise InputError(
            f"{path}: others may read this private key; chmod 600 it, and make a new one if they did"
        )
    try:
        key = load_ssh_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path}: is no private key that can be read ({error}); give one that `weclick cache keygen` or "
            "`ssh-keygen -t ed25519 -N ''` makes, without a passphrase"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(
            f"{path}: is a private key of another kind, expected Ed25519 (`ssh-keygen -t ed25519`)"
        )
    return key


def spell_key(key: Ed25519PublicKey) -> str:
    """A public key as one line `ssh-ed25519 AAAA...`."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")


def _public_keys(text: str) -> list[Ed25519PublicKey]:
    """The keys of one item of `cache.trusted_keys`."""
    _need_cryptography()
    if text.startswith(_ALGORITHM):
        return [_public_key(text, "cache.trusted_keys")]
    path = Path(text).expanduser()
    lines = _read(path).decode("utf-8", errors="replace").splitlines()
    keys = [_public_key(line, path) for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise InputError(f"{path}: holds no public key, expected lines such as {_ALGORITHM} AAAA...")
    return keys


def _public_key(line: str, where: object) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        key = load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _no_key(line, where) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(line, where)
    return key


def _no_key(line: str, where: object) -> InputError:
    told = "the text of a private key" if "PRIVATE" in line else repr(line[:60])
    return InputError(
        f"{where}: {told} is no public Ed25519 key, expected {_ALGORITHM} AAAA..., as `weclick cache keygen` "
        "or `ssh-keygen -t ed25519` writes it into the .pub file"
    )


def _read(path: Path) -> bytes:
    if not path.exists():
        raise MissingFileError(
            f"{path}: there is no such file of a key; `weclick cache keygen {path}` makes one"
        )
    if not path.is_file():
        raise InputError(f"{path}: is no file, expected one that holds a key")
    with path.open("rb") as file:
        return file.read(KEY_BYTES)


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise InputError(
            "signatures of entries (cache.trusted_keys, weclick cache sign) need cryptography: "
            "pip install 'weclick[sign]', or leave cache.trusted_keys empty"
        ) from error


def _message(meta: Mapping[str, Any]) -> bytes:
    """What is signed. It begins with a brace, so it is no message of SSH that uses the same key."""
    value = {"layout": LAYOUT, "kind": meta["kind"], "key": meta["key"], "digest": meta["digest"]}
    return canonical_json({"weclick_signature": VERSION, **value}).encode()


def _of_content(root: Signed, meta: Mapping[str, Any]) -> dict[str, bytes]:
    """Public key -> signature, for those that say that they are made for this content."""
    found = {}
    for data in root.signatures(meta["kind"], meta["key"]):
        value = _parse(data)
        if value and value["digest"] == meta["digest"]:
            found[value["public_key"]] = data
    return found


def _parse(data: bytes) -> dict[str, str] | None:
    """The parts of a signature, all of them text, or None if it is none of this version."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    names = ("digest", "public_key", "signature")
    if not isinstance(value, dict) or value.get("weclick_signature") != VERSION:
        return None
    texts = all(isinstance(value.get(name), str) for name in names)
    return {name: value[name] for name in names} if texts else None


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes_raw()


def _signer(public: str) -> str:
    """The name of a public key, given in hex, in the names of files."""
    return hashlib.sha256(public.encode()).hexdigest()[:16]
