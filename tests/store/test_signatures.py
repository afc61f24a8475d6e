"""Signatures of entries: whom a reader believes, and how a signature travels with its entry."""

import os
import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import boto3
import google_crc32c
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from typer.testing import CliRunner

from helpers.cache_entries import files_of, write_flow_entry
from helpers.damage import forge
from helpers.s3_server import s3_server
from weclick.cli import app
from weclick.common.errors import InputError, MissingFileError
from weclick.store import DamagedEntryError, EntryMissingError, LocalRoot, S3Root, Store, copy_entries
from weclick.store.signatures import (
    OTHER_KEY,
    SIGNED,
    UNFIT,
    UNSIGNED,
    Trust,
    make_key,
    read_private_key,
    sign_entry,
)


class Lab:
    """A team root with one entry, its reader's own root, and the team's key."""

    def __init__(self, folder: Path):
        self.folder, self.team, self.mine = folder, LocalRoot(folder / "team"), folder / "mine"
        self.public = make_key(folder / "lab")
        self.private = read_private_key(folder / "lab")
        self.key = write_flow_entry(self.team.path)

    @property
    def entry(self) -> Path:
        return self.team.folder("flow", self.key)

    @property
    def signature(self) -> Path:
        (path,) = (self.team.path / "signatures").rglob(f"{self.key}.*")
        return path

    @property
    def signature_folder(self) -> Path:
        return self.team.path / f"signatures/flow/v1/{self.key[:2]}"

    def sign(self, root=None, private=None) -> None:
        root = root or self.team
        sign_entry(root, root.find_meta("flow", self.key), private or self.private)

    def store(self, *roots: object, keys: tuple[str, ...] | None = None) -> Store:
        keys = (self.public,) if keys is None else keys
        return Store([*(roots or [self.team.path]), self.mine], trusted_keys=keys)

    def replace(self, value: int = 9) -> None:
        """Put other content under the same key, with an entry.json that fits it."""
        write_flow_entry(self.folder / "evil", value=value)
        shutil.rmtree(self.entry)
        shutil.move(LocalRoot(self.folder / "evil").folder("flow", self.key), self.entry)


@pytest.fixture
def lab(tmp_path) -> Lab:
    return Lab(tmp_path)


def cache(*words: object, keys: tuple[str, ...] = (), exit_code: int = 0) -> str:
    config = f'{{"cache": {{"trusted_keys": {list(keys)}}}}}'.replace("'", '"')
    ended = CliRunner().invoke(app, ["cache", *map(str, words), "--config", config], catch_exceptions=False)
    assert ended.exit_code == exit_code, ended.output
    return ended.output


def judge(lab: Lab, root=None) -> str:
    root = root or lab.team
    return Trust([lab.public]).judge(root, root.find_meta("flow", lab.key))


def test_what_is_signed_is_read_and_what_is_not_counts_as_not_there(lab, capsys):
    before = files_of(lab.team.path)
    store = lab.store()
    assert store.find("flow", lab.key) is None
    with pytest.raises(EntryMissingError, match="the store has no flow entry"):
        store.get("flow", lab.key)
    store.trust.tell()
    told = capsys.readouterr().err
    assert told.count("warning") == 1, "told once"
    assert f"{lab.team}: not read, as no key of cache.trusted_keys signed it: 1 unsigned" in told
    assert files_of(lab.team.path) == before, "nothing is moved, overwritten or signed"
    lab.sign()
    assert lab.store().get("flow", lab.key).array("flow")[0].shape == (2, 5, 7)


def test_without_trusted_keys_nothing_is_asked_for(lab):
    assert lab.store(keys=()).get("flow", lab.key).path == lab.entry


def test_ones_own_root_is_read_unsigned(lab):
    write_flow_entry(lab.mine, value=3)
    assert lab.store().get("flow", lab.key).path.is_relative_to(lab.mine)


def test_an_entry_of_another_user_in_the_last_root_is_told(lab, monkeypatch):
    write_flow_entry(lab.mine)
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    owner = (LocalRoot(lab.mine).folder("flow", lab.key) / "entry.json").stat().st_uid
    if owner == 0:
        os.chown(LocalRoot(lab.mine).folder("flow", lab.key) / "entry.json", 4343, -1)
    with pytest.raises(
        InputError, match=r"another user made this entry.*name a folder of your own as the last"
    ):
        lab.store().find("flow", lab.key)
    lab.sign(LocalRoot(lab.mine))
    assert lab.store().find("flow", lab.key)


def test_a_replaced_entry_whose_own_digests_fit_is_not_read(lab):
    lab.sign()
    lab.replace()
    assert lab.team.faults("flow", lab.key) == [], "as whole as any other"
    assert lab.store(keys=()).find("flow", lab.key), "and read by whoever asks for no signature"
    assert judge(lab) == UNFIT
    assert lab.store().find("flow", lab.key) is None


def test_other_attributes_are_other_content(lab):
    lab.sign()
    forge(lab.entry, lambda meta: meta["attributes"].update(clipped=5))
    assert judge(lab) == UNFIT


def test_a_signature_by_another_key_counts_for_nothing(lab, tmp_path):
    make_key(tmp_path / "other")
    lab.sign(private=read_private_key(tmp_path / "other"))
    assert judge(lab) == OTHER_KEY
    assert lab.store().find("flow", lab.key) is None
    lab.sign()
    assert judge(lab) == SIGNED, "two signers do not stand in each other's way"


def test_a_signature_of_another_entry_does_not_fit(lab):
    lab.sign()
    signature = lab.signature
    other = write_flow_entry(lab.team.path, {"n": 1})
    target = lab.team.path / f"signatures/flow/v1/{other[:2]}/{other}{signature.suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(signature, target)
    assert Trust([lab.public]).judge(lab.team, lab.team.find_meta("flow", other)) == UNFIT
    text = target.read_text(encoding="ascii")
    old, new = (lab.team.find_meta("flow", key)["digest"] for key in (lab.key, other))
    target.write_text(text.replace(old, new), encoding="ascii")
    assert Trust([lab.public]).judge(lab.team, lab.team.find_meta("flow", other)) == UNFIT


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"\xff", b"[" * 4000, b'{"weclick_signature": 1}', b'{"weclick_signature": 1, "digest": 3}'],
)
def test_what_is_no_signature_is_passed_over(lab, data):
    lab.sign()
    lab.signature.write_bytes(data)
    assert judge(lab) == UNSIGNED


def test_links_and_pipes_are_no_signatures_and_block_nobody(lab, tmp_path):
    lab.sign()
    path = lab.signature
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    os.mkfifo(path.with_suffix(".pipe"))
    assert judge(lab) == UNSIGNED


def test_many_planted_files_do_not_hide_a_signature(lab):
    lab.sign()
    for i in range(40):
        lab.signature_folder.joinpath(f"{lab.key}.{i:04d}").write_bytes(b"{}")
    assert judge(lab) == SIGNED


def with_crc(data: bytes, crc: int) -> bytes:
    """The same bytes but for the last four, so that their CRC-32C is the wanted one: CRCs are linear."""
    head = data[:-4]
    base = google_crc32c.extend(0, head + bytes(4))
    columns = [google_crc32c.extend(0, head + (1 << bit).to_bytes(4, "little")) ^ base for bit in range(32)]
    rows = [(column, 1 << bit) for bit, column in enumerate(columns)]
    wanted, chosen = crc ^ base, 0
    for bit in reversed(range(32)):
        at = next((row for row in rows if row[0] >> bit & 1), None)
        if at is None:
            continue
        rows = [(c ^ at[0], m ^ at[1]) if c >> bit & 1 else (c, m) for c, m in rows if (c, m) != at]
        if wanted >> bit & 1:
            wanted, chosen = wanted ^ at[0], chosen ^ at[1]
    return head + chosen.to_bytes(4, "little")


def test_an_array_with_a_forged_checksum_is_refused_where_signatures_are_asked_for(lab):
    lab.sign()
    chunk = lab.entry / "flow/c/0/0/0/0"
    whole = chunk.read_bytes()
    forged = with_crc(bytes([whole[0] ^ 1]) + whole[1:], google_crc32c.extend(0, whole))
    assert forged != whole
    assert google_crc32c.extend(0, forged) == google_crc32c.extend(0, whole)
    chunk.write_bytes(forged)
    with pytest.raises(DamagedEntryError, match="is not what was committed"):
        lab.store().get("flow", lab.key).array("flow")[0]


def test_signing_takes_whole_entries_of_a_root_and_goes_on_where_it_stopped(lab, monkeypatch):
    damaged = write_flow_entry(lab.team.path, {"n": 1})
    (lab.team.folder("flow", damaged) / "flow/c/0/0/0/0").write_bytes(b"other")
    words = ("sign", "--key", lab.folder / "lab", "--root", lab.team)
    told = cache(*words, exit_code=1)
    assert "fault: " in told
    assert f"{lab.team}: 1 entries signed by {lab.public}, 0 were signed before" in told
    shutil.rmtree(lab.team.folder("flow", damaged))
    assert "0 entries signed by" in cache(*words)
    monkeypatch.setenv("WECLICK_CACHE", str(lab.team))
    assert ", 1 were signed before" in cache("sign", "--key", lab.folder / "lab", "--kind", "flow")


def test_publish_and_fetch_carry_signatures_and_fetch_takes_no_others(lab, monkeypatch, tmp_path):
    monkeypatch.setenv("WECLICK_CACHE", f"{lab.team}:{lab.mine}")
    config = (lab.public,)
    (tmp_path / "0.json").write_text(f'{{"kind": "flow", "entries": {{"a": "{lab.key}"}}}}')
    told = cache("fetch", tmp_path / "0.json", keys=config, exit_code=1)
    assert "0 entries copied" in told
    assert f"1 entries are in no root, e.g. flow {lab.key}" in told
    lab.sign()
    assert "1 entries copied" in cache("fetch", tmp_path / "0.json", keys=config)
    assert judge(lab, LocalRoot(lab.mine)) == SIGNED
    third = LocalRoot(tmp_path / "third")
    cache("publish", third)
    assert judge(lab, third) == SIGNED
    shutil.rmtree(third.path / "signatures")
    assert "1 were there" in cache("publish", third)
    assert judge(lab, third) == SIGNED, "what was published before it was signed gets its signature"


def test_mirror_brings_nothing_unsigned_into_ones_own_root(lab, monkeypatch):
    monkeypatch.setenv("WECLICK_CACHE", str(lab.mine))
    cache("mirror", lab.team, lab.mine, keys=(lab.public,), exit_code=1)
    assert not (lab.mine / "flow").exists()
    cache("mirror", lab.team, lab.mine)
    assert (lab.mine / "flow").exists()


def test_verify_and_ls_tell_what_is_signed(lab, monkeypatch):
    monkeypatch.setenv("WECLICK_CACHE", f"{lab.team}:{lab.mine}")
    lab.mine.mkdir()
    keys = (lab.public,)
    write_flow_entry(lab.team.path, {"n": 1})
    lab.sign()
    assert f"{lab.team}: 1 signed, 1 unsigned" in cache("verify", keys=keys)
    assert "signed, " not in cache("verify")
    told = cache("ls", "--json", keys=keys)
    assert told.count('"signed": "signed"') == told.count('"signed": "unsigned"') == 1
    assert "unsigned" in cache("ls", keys=keys)
    assert "signed" not in cache("ls")
    lab.replace()
    told = cache("verify", keys=keys, exit_code=1)
    assert f"fault: {lab.team}: flow entry {lab.key} is with a signature that does not fit" in told


def test_a_stage_that_makes_again_what_it_may_not_read_tells_so_first(lab, capsys):
    from weclick.store.fill import fill

    store, made = lab.store(), []

    def make(items, bar):
        made.append(capsys.readouterr().err)
        list(items)

    fill(store, "flow", ["a"], make, key=lambda _: lab.key, size=lambda _: 1, what="flow", unit="pairs")
    assert "not read, as no key of cache.trusted_keys signed it: 1 unsigned" in made[0]


def test_a_process_tells_at_its_end_what_it_did_not_read(lab):
    code = (
        "import sys; from weclick.store import Store\n"
        "store = Store([sys.argv[1], sys.argv[2]], trusted_keys=[sys.argv[3]])\n"
        "store.find('flow', sys.argv[4])"
    )
    words = [sys.executable, "-c", code, str(lab.team), str(lab.mine), lab.public, lab.key]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stderr
    assert "1 unsigned" in told


def test_without_the_extra_keys_are_an_error_and_the_rest_works(lab, monkeypatch):
    lab.sign()
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(InputError, match=r"need cryptography: pip install 'weclick\[sign\]'"):
        lab.store()
    assert lab.store(keys=()).find("flow", lab.key)
    target = LocalRoot(lab.folder / "third")
    assert copy_entries([lab.team], target, [("flow", lab.key)]).copied == 1
    assert len(target.signatures("flow", lab.key)) == 1, "carried without the extra"


def test_keys_are_files_or_text(lab, tmp_path):
    lab.sign()
    other = make_key(tmp_path / "other")
    (tmp_path / "team.keys").write_text(f"# the lab\n\n{other} anna\n{lab.public} ben\n")
    assert stat.S_IMODE((tmp_path / "lab").stat().st_mode) == 0o600
    for keys in ((str(tmp_path / "lab.pub"),), (str(tmp_path / "team.keys"),), (lab.public, other)):
        assert lab.store(keys=keys).find("flow", lab.key)
    assert lab.store(keys=(other,)).find("flow", lab.key) is None


def test_what_is_no_key_is_told(lab, tmp_path):
    rsa = generate_private_key(65537, 2048)
    text = rsa.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    (tmp_path / "rsa.pub").write_bytes(text)
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(InputError, match=r"rsa\.pub: 'ssh-rsa .* is no public Ed25519 key"):
        Trust([str(tmp_path / "rsa.pub")])
    with pytest.raises(InputError, match="holds no public key"):
        Trust([str(tmp_path / "empty")])
    with pytest.raises(InputError, match=r"cache\.trusted_keys: 'ssh-ed25519 AAAA' is no public"):
        Trust(["ssh-ed25519 AAAA"])
    with pytest.raises(InputError, match="the text of a private key is no public"):
        Trust([str(tmp_path / "lab")])
    with pytest.raises(MissingFileError, match="there is no such file of a key"):
        Trust([str(tmp_path / "nowhere.pub")])
    with pytest.raises(InputError, match="is no file, expected one that holds a key"):
        Trust([str(tmp_path)])


def test_private_keys_that_others_may_read_or_that_are_none_are_refused(lab, tmp_path):
    with pytest.raises(InputError, match="is there already; name another file"):
        make_key(tmp_path / "lab")
    (tmp_path / "lab").chmod(0o640)
    with pytest.raises(InputError, match="others may read this private key"):
        read_private_key(tmp_path / "lab")
    (tmp_path / "lab").write_text("nothing")
    (tmp_path / "lab").chmod(0o600)
    with pytest.raises(InputError, match="is no private key that can be read"):
        read_private_key(tmp_path / "lab")


@pytest.fixture(scope="module")
def bucket():
    with s3_server():
        boto3.client("s3").create_bucket(Bucket="signed-team")
        yield "s3://signed-team/weclick"


class TestBuckets:
    @pytest.fixture
    def far(self, bucket) -> S3Root:
        yield S3Root(bucket)
        client = boto3.client("s3")
        for found in client.list_objects_v2(Bucket="signed-team").get("Contents", ()):
            client.delete_object(Bucket="signed-team", Key=found["Key"])

    def test_signatures_travel_there_and_back_and_into_the_folder_of_fetched_entries(self, lab, far):
        lab.sign()
        assert copy_entries([lab.team], far, [("flow", lab.key)]).copied == 1
        assert judge(lab, far) == SIGNED
        assert list(far.keys("flow")) == [lab.key]
        entry = lab.store(str(far)).get("flow", lab.key)
        assert entry.array("flow")[0].shape == (2, 5, 7)
        assert judge(lab, LocalRoot(lab.mine / "fetched")) == SIGNED
        client = boto3.client("s3")
        for found in client.list_objects_v2(Bucket="signed-team")["Contents"]:
            client.delete_object(Bucket="signed-team", Key=found["Key"])
        assert lab.store(str(far)).get("flow", lab.key).path == entry.path, "read without the bucket"

    def test_unsigned_ones_are_not_fetched(self, lab, far, capsys):
        copy_entries([lab.team], far, [("flow", lab.key)])
        store = lab.store(str(far))
        assert store.find("flow", lab.key) is None
        store.trust.tell()
        assert f"{far}: not read" in capsys.readouterr().err
        assert not lab.mine.exists()
        cache("sign", "--key", lab.folder / "lab", "--root", far)
        assert lab.store(str(far)).find("flow", lab.key)

    def test_what_was_fetched_before_it_was_signed_is_not_fetched_again(self, lab, far):
        copy_entries([lab.team], far, [("flow", lab.key)])
        path = lab.store(str(far), keys=()).get("flow", lab.key).path
        age = (path / "flow/zarr.json").stat().st_ino
        assert lab.store(str(far)).find("flow", lab.key) is None
        lab.sign(far)
        assert lab.store(str(far)).get("flow", lab.key).path == path
        assert (path / "flow/zarr.json").stat().st_ino == age
        assert judge(lab, LocalRoot(lab.mine / "fetched")) == SIGNED

    def test_a_fetched_entry_of_other_content_gives_way_to_the_signed_one(self, lab, far):
        copy_entries([lab.team], far, [("flow", lab.key)])
        lab.sign(far)
        write_flow_entry(lab.mine / "fetched", value=9)
        array = lab.store(str(far)).get("flow", lab.key).array("flow")[0]
        np.testing.assert_array_equal(array, lab.store(keys=()).get("flow", lab.key).array("flow")[0])


def test_a_store_goes_to_another_process(lab):
    """It asks for the same signatures there."""
    for store in (lab.store(), lab.store(keys=())):
        copy = pickle.loads(pickle.dumps(store))
        assert bool(copy.trust) == bool(store.trust)
        assert (copy.find("flow", lab.key) is None) == (store.find("flow", lab.key) is None)
