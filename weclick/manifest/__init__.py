"""What is on disk: clips, their frames, which are targets, and content digests.

A manifest is written per split and shard. It is the only thing the later stages know of a data set.
"""

from weclick.manifest.clips import IGNORE, Classes, Clip, Frame, Manifest, shard_of
from weclick.manifest.manifest_file import (
    SCHEMA_VERSION,
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
    "read_class_list",
    "read_manifest",
    "read_manifests",
    "shard_of",
    "write_manifest",
]
