"""Loader of the policy language: from YAML to a :class:`flowlane.core.policy.Policy`, or to all its problems.

The language is described in docs/operators/policy.md; its JSON Schema for editors is ``schema.json`` beside this file.
"""

from flowlane.policy.loader import default, default_text, load, load_file, load_stream

__all__ = ["default", "default_text", "load", "load_file", "load_stream"]
