"""Writes two pages from the code: the configuration from its schema, the verbs from their help."""

from __future__ import annotations

import json
import re
from typing import Any

import typer
from typer.cli import get_docs_for_click

from weclick.cli import app
from weclick.common.schemas import load_schema


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill the two generated pages; mkdocs calls this hook for every page."""
    return markdown.replace("<!-- configuration -->", configuration()).replace("<!-- verbs -->", verbs())


def configuration() -> str:
    """A table of keys for each section of the configuration's schema."""
    schema = load_schema("config")
    top = {key: part for key, part in schema["properties"].items() if "properties" not in part}
    parts = ["## Top level", "", *_table(top)]
    for section, part in schema["properties"].items():
        if "properties" in part:
            parts += ["", f"## {section}", "", part.get("description", ""), "", *_table(part["properties"])]
    return "\n".join(parts)


def verbs() -> str:
    """The help of every verb."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="weclick")
    text = get_docs_for_click(obj=command, ctx=context, name="weclick")
    text = re.sub(r"^# `weclick`\n", "", text)
    text = re.sub(
        r"\s*\[(default|required)[^\]]*\]", lambda found: f" ({found.group(0).strip()[1:-1]})", text
    )
    return text.replace("</", "&lt;/")


def _table(properties: dict[str, Any], prefix: str = "") -> list[str]:
    lines = [] if prefix else ["| key | type, range | default | meaning |", "|---|---|---|---|"]
    for key, part in properties.items():
        meaning = part.get("description", "").replace("|", "\\|").replace("<", "&lt;")
        default = "" if "properties" in part else f"`{json.dumps(part.get('default'))}`"
        lines.append(f"| `{prefix}{key}` | {_type(part)} | {default} | {meaning} |")
        if "properties" in part:
            lines += _table(part["properties"], f"{prefix}{key}.")
    return lines


def _type(part: dict[str, Any]) -> str:
    if "enum" in part:
        return ", ".join(
            f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in part["enum"]
        )
    if "properties" in part:
        return "keys below"
    kinds = part.get(
        "type", [option.get("type", "text") for option in part.get("oneOf", part.get("anyOf", []))]
    )
    names = {
        "null": "none",
        "object": "mapping",
        "array": "list",
        "string": "text",
        "boolean": "true or false",
    }
    kinds = [kinds] if isinstance(kinds, str) else kinds
    told = " or ".join(dict.fromkeys(names.get(kind, kind) for kind in kinds))
    low = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}  # fmt: skip
    return told + "".join(
        f", {sign.replace('<', '&lt;')} {part[name]}" for name, sign in low.items() if name in part
    )
