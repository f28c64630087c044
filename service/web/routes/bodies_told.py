"""What OpenAPI says of the bodies of predictions and labels, in all their forms."""

from typing import Any

from service.web.routes.bodies import ARROW, JSON, NDJSON

DESCRIPTION = "Answered after the durable append. Rows that cannot be taken are listed; the others are taken."

_TEXT, _VALUE = {"type": "string"}, {"type": ["string", "number", "boolean"]}
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_VALUES = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
_FEATURES = {"type": "object", "additionalProperties": {"anyOf": [_VALUES["additionalProperties"], _NUMBERS]}}
_TIME = {"type": "string", "format": "date-time", "description": "Arrival where absent."}
_OUTCOME = {"type": "object", "description": "What the user experienced; kept with the label."}

PREDICTION: dict[str, Any] = {
    "type": "object",
    "required": ["prediction_id", "prediction"],
    "properties": {
        "prediction_id": _TEXT,
        "prediction": _VALUE,
        "timestamp": _TIME,
        "model_version": {"type": "string", "description": "The champion where absent."},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "scores": {"type": "object", "additionalProperties": {"type": "number"}},
        "features": _FEATURES,
        "tags": _VALUES,
    },
}
LABEL: dict[str, Any] = {
    "type": "object",
    "required": ["prediction_id", "label"],
    "properties": {"prediction_id": _TEXT, "label": _VALUE, "timestamp": _TIME, "outcome": _OUTCOME},
}
ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "batch": _TEXT,
        "accepted": {"type": "integer"},
        "rejected": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"row": {"type": "integer"}, "field": _TEXT, "problem": _TEXT},
            },
        },
        "rejected_rows": {"type": "integer"},
    },
}


def documented(row: dict[str, Any]) -> dict[str, Any]:
    """Parameters and body of a route that takes such rows."""
    return {
        "parameters": [
            {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}},
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "maxLength": 255},
                "description": "The same key and body again give the same answer, and nothing is counted twice.",
            },
            {
                "name": "Content-Encoding",
                "in": "header",
                "schema": {"type": "string", "enum": ["gzip", "zstd", "identity"]},
                "description": "How the body is compressed, in any of its forms.",
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": {"oneOf": [{"type": "array", "items": row}, _columns_of(row)]}},
                NDJSON: {"schema": {"type": "string", "description": "One such object a line."}},
                ARROW: {
                    "schema": {
                        "type": "string",
                        "format": "binary",
                        "description": "An Arrow IPC stream with the names of `columns`, not compressed inside.",
                    }
                },
            },
        },
    }


def _columns_of(row: dict[str, Any]) -> dict[str, Any]:
    """The same rows, as a list for each column."""
    properties: dict[str, Any] = {}
    for name, kind in row["properties"].items():
        inner = kind.get("additionalProperties")
        properties[f"{name}.<name>" if inner else name] = {"type": "array", "items": inner or kind}
    return {
        "type": "object",
        "required": ["columns"],
        "additionalProperties": False,
        "properties": {
            "columns": {
                "type": "object",
                "required": row["required"],
                "description": "Lists of one length; null where a row has no value. <name> stands for any name.",
                "properties": {name: kind for name, kind in properties.items() if "<" not in name},
                "patternProperties": {
                    f"^{name.partition('.')[0]}\\.": kind for name, kind in properties.items() if "<" in name
                },
            }
        },
    }
