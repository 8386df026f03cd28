"""Tables of objects, as kubectl shows them.

Pure; the time is an argument. Called by the API server for clients that ask for a Table. Follows "Receiving
resources as Tables" in the Kubernetes API concepts page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from controlplane.apiserver.openapi.schema import Document
from controlplane.apiserver.printing.cells import format_duration
from controlplane.apiserver.printing.columns import PLAIN, PRINTERS, Column, Printer
from controlplane.apiserver.printing.pods import list_pod_row_conditions

__all__ = ["build_table", "format_duration"]


def build_table(
    kind_name: str, documents: Sequence[Mapping[str, Any]], now: datetime, include_object: str = "Metadata"
) -> Document:
    """A meta.k8s.io/v1 Table of stored objects; the caller adds the list's own metadata.

    `include_object` says what each row carries besides its cells: None, Metadata or Object.
    """
    printer = PRINTERS.get(kind_name, PLAIN)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [_render_column(column) for column in printer.columns],
        "rows": [_build_row(printer, document, now, include_object) for document in documents],
    }


def _render_column(column: Column) -> Document:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


def _build_row(printer: Printer, document: Mapping[str, Any], now: datetime, include_object: str) -> Document:
    row: Document = {"cells": printer.list_cells(document, now)}
    conditions = list_pod_row_conditions(document) if printer is PRINTERS["Pod"] else []
    if conditions:
        row["conditions"] = conditions
    match include_object:
        case "None":
            pass
        case "Object":
            row["object"] = document
        case _:
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": document["metadata"],
            }
    return row
