"""Clicks: one point per object, made from masks or by people."""

from weclick.clicks.components import clicks_from_labels, scaled_min_pixels
from weclick.clicks.generate import generate_clicks
from weclick.clicks.sourced import SourcedClicks
from weclick.clicks.table import clicks_digest, read_clicks, write_clicks, write_json
from weclick.manifest.click_table import POINT, ClickTable

__all__ = [
    "POINT",
    "ClickTable",
    "SourcedClicks",
    "clicks_digest",
    "clicks_from_labels",
    "generate_clicks",
    "read_clicks",
    "scaled_min_pixels",
    "write_clicks",
    "write_json",
]
