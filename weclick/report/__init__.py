"""The report: one self-contained HTML page about a run."""

from weclick.report.page import write_report

__all__ = ["write_report"]
