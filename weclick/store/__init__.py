"""The content-addressed store that runs and teams share."""

from weclick.common.digest import canonical_json, file_digest
from weclick.store.arrays import StoredArray, check_array, check_step
from weclick.store.codecs import SOFT_LABEL_CODECS, decode_flow, decode_soft_labels, encode_flow
from weclick.store.entries import Entry, EntryWriter, open_entry
from weclick.store.index import by_clip, keys_in, read_index, read_needs, told_of, write_index
from weclick.store.keys import entry_key
from weclick.store.ledger.gc import FLOOR_S, Bounds, choose, delete, folder_bytes, leased, leftovers
from weclick.store.ledger.reach import reach, reach_surely
from weclick.store.meta import DamagedEntryError, EntryMissingError, damaged
from weclick.store.roots.local_root import LocalRoot, list_entries
from weclick.store.roots.s3_root import S3Root, UnreachableRootError
from weclick.store.roots.transfer import copy_entries
from weclick.store.search import Bucket, Store, open_root
from weclick.store.summaries import Summary, look_up, read_ledger
from weclick.store.verify import check_attributes, verify_entry

__all__ = [
    "FLOOR_S",
    "SOFT_LABEL_CODECS",
    "Bounds",
    "Bucket",
    "DamagedEntryError",
    "Entry",
    "EntryMissingError",
    "EntryWriter",
    "LocalRoot",
    "S3Root",
    "Store",
    "StoredArray",
    "Summary",
    "UnreachableRootError",
    "by_clip",
    "canonical_json",
    "check_array",
    "check_attributes",
    "check_step",
    "choose",
    "copy_entries",
    "damaged",
    "decode_flow",
    "decode_soft_labels",
    "delete",
    "encode_flow",
    "entry_key",
    "file_digest",
    "folder_bytes",
    "keys_in",
    "leased",
    "leftovers",
    "list_entries",
    "look_up",
    "open_entry",
    "open_root",
    "reach",
    "reach_surely",
    "read_index",
    "read_ledger",
    "read_needs",
    "told_of",
    "verify_entry",
    "write_index",
]
