"""The clips on disk, with their frames, targets and content digests.

Every split and shard has one manifest. Later stages know nothing else of a data set.
"""

from weclick.manifest.clips import IGNORE, Classes, Clip, Frame, Manifest, frame_digest, shard_of
from weclick.manifest.manifest_file import (
    SCHEMA_VERSION,
    class_list,
    read_class_list,
    read_manifest,
    read_manifests,
    write_manifest,
)

__all__ = [
    "IGNORE",
    "SCHEMA_VERSION",
    "Classes",
    "Clip",
    "Frame",
    "Manifest",
    "class_list",
    "frame_digest",
    "read_class_list",
    "read_manifest",
    "read_manifests",
    "shard_of",
    "write_manifest",
]
