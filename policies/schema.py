"""JSON Schema of the policy file, for editors."""

from policies.kinds import Schema
from policies.policy import Policy
from policies.shapes import Part


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
