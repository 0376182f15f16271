"""The policy language: YAML in, a sound :class:`flowlane.core.policy.Policy` or every problem out.

The language is described in docs/policy.md; its JSON Schema for editors is ``schema.json`` beside this file.
"""

from flowlane.policy.loader import default, default_text, load, load_file, load_stream

__all__ = ["default", "default_text", "load", "load_file", "load_stream"]
