"""The report: one self-contained HTML page about one run, or about several side by side."""

from weclick.runs.report.compare import write_comparison
from weclick.runs.report.page import write_report
from weclick.runs.report.provenance import command

__all__ = ["command", "write_comparison", "write_report"]
