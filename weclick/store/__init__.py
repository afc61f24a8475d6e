"""The content-addressed store that runs and teams share."""

from weclick.store.arrays import DamagedEntryError, StoredArray, check_array, check_step, damaged
from weclick.store.codecs import decode_flow, decode_probabilities, encode_flow, encode_probabilities
from weclick.store.entries import Entry, EntryMissingError, EntryWriter, Store, list_entries, open_entry
from weclick.store.index import read_index, write_index
from weclick.store.keys import canonical_json, entry_key, file_digest
from weclick.store.verify import verify_entry

__all__ = [
    "DamagedEntryError",
    "Entry",
    "EntryMissingError",
    "EntryWriter",
    "Store",
    "StoredArray",
    "canonical_json",
    "check_array",
    "check_step",
    "damaged",
    "decode_flow",
    "decode_probabilities",
    "encode_flow",
    "encode_probabilities",
    "entry_key",
    "file_digest",
    "list_entries",
    "open_entry",
    "read_index",
    "verify_entry",
    "write_index",
]
