"""Checks whether a student can learn from its teacher as the configuration has it."""

from __future__ import annotations

from weclick.common.findings import Finding
from weclick.common.sections import Config


def check_distillation(config: Config) -> list[Finding]:
    """Look for settings that hide what soft labels teach. Empty if the student does not use them."""
    student = config["student"]
    if not config["kd"]["weight"]:
        return []
    if student["backbone"].endswith("_compact") and student["dropout"] is None:
        found = (
            f"the student distils (kd.weight is {config['kd']['weight']:g}) on {student['backbone']} with "
            "the head's published dropout (0.5 twice, 0.1); under that so small a network hardly learns "
            "more from soft labels than from clicks"
        )
        return [Finding("warning", "student.dropout", found, "set student.dropout: 0")]
    return []
