"""JSON Schema of the policy file and of a folder's defaults, for editors."""

from policies.file.inherit import OWN
from policies.file.kinds import Schema
from policies.file.policy import Policy
from policies.file.shapes import Part


def json_schema() -> Schema:
    """The schema (draft 2020-12) with every key, its description and its default; made from the fields of Policy.

    >>> json_schema()["required"]
    ['model', 'task']
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tidegate policy",
        "description": "When one model is retrained, released and rolled back.",
        **Part(Policy).schema(),
    }


def defaults_schema() -> Schema:
    """The schema of a defaults file: the same keys but for a policy's own ones, none of them required outside lists.

    >>> "required" in defaults_schema(), "model" in defaults_schema()["properties"]
    (False, False)
    """
    whole = json_schema()
    told = {
        "title": "Tidegate defaults",
        "description": "What every policy of the folder says unless it says otherwise.",
    }
    return _partly(whole, "") | told


def _partly(schema: Schema, path: str) -> Schema:
    """The schema of a part, whose keys another file may complete; what is in a list has to be whole."""
    partly = {key: value for key, value in schema.items() if key != "required"}
    if "kind" in schema.get("required", ()) and "const" in schema["properties"].get("kind", {}):
        partly["required"] = ["kind"]
    if "properties" in schema:
        inner = {f"{path}.{name}" if path else name: (name, each) for name, each in schema["properties"].items()}
        partly["properties"] = {name: _partly(each, at) for at, (name, each) in inner.items() if at not in OWN}
    for key in ("anyOf", "oneOf"):
        if key in schema:
            partly[key] = [_partly(form, path) for form in schema[key]]
    if isinstance(schema.get("additionalProperties"), dict):
        partly["additionalProperties"] = _partly(schema["additionalProperties"], f"{path}.*")
    return partly
