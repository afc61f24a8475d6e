"""Files of `torch.save` are zip archives. Torch itself inflates whatever one promises."""

from __future__ import annotations

import zipfile
from pathlib import Path

PICKLE_BYTES = 4 * 2**20
"""The longest description of the tensors in an archive. The largest networks have a tenth of it."""

MEMBERS = 2**16


def check_archive(path: Path) -> None:
    """Refuse an archive that is larger inside than outside, as `torch.save` never writes one.

    A file in torch's old format is no archive, and is let through.

    Raises:
        ValueError: it is compressed, its members overlap, or its description is too long.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if packed := [each.filename for each in members if each.compress_type != zipfile.ZIP_STORED]:
        raise ValueError(f"{packed[0][:80]} in it is compressed, which torch.save never does")
    inside, outside = sum(each.file_size for each in members), path.stat().st_size
    if inside > outside or len(members) > MEMBERS:
        raise ValueError(f"its {len(members)} members promise {inside} bytes, but the file has {outside}")
    for each in members:
        if each.filename.endswith(".pkl") and each.file_size > PICKLE_BYTES:
            raise ValueError(
                f"{each.filename[:80]} in it has {each.file_size} bytes, at most {PICKLE_BYTES} are read"
            )
