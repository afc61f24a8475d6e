"""The report: one self-contained HTML page about a run, or about several beside each other."""

from weclick.runs.report.compare import write_comparison
from weclick.runs.report.page import write_report
from weclick.runs.report.provenance import command

__all__ = ["command", "write_comparison", "write_report"]
