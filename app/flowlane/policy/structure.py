"""Check of a document against the published JSON Schema, and the messages for its errors.

The schema has types, keys and patterns, so that editors can help while a policy is written; the messages use
its titles and examples. What a schema cannot express (names that must exist, values that contradict each
other) is checked afterwards, by the modules that build the policy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from flowlane.closest import did_you_mean
from flowlane.policy.document import MAX_PROBLEMS, Document, Path, shown

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

TYPE_WORDS = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}


@cache
def schema() -> dict[str, Any]:
    """Read the published schema."""
    tree: dict[str, Any] = json.loads(files("flowlane.policy").joinpath("schema.json").read_text("utf-8"))
    return tree


@cache
def _validator() -> Draft202012Validator:
    """Make the validator. It resolves no references, which would take as long as validating: they are replaced here."""
    return Draft202012Validator(_without_references(schema()))


def _without_references(node: Any) -> Any:
    """Return a schema with each reference replaced by its target; keys beside the reference stay."""
    if isinstance(node, list):
        return [_without_references(item) for item in node]
    if not isinstance(node, dict):
        return node
    target = schema()["$defs"][node["$ref"].removeprefix("#/$defs/")] if "$ref" in node else {}
    return {
        key: _without_references(value)
        for key, value in {**target, **node}.items()
        if key not in {"$ref", "$defs"}
    }


def current(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a schema's object without older spellings."""
    return {key: node for key, node in properties.items() if not node.get("deprecated")}


def check_structure(document: Document) -> frozenset[Path]:
    """Report every breach of the schema in the document; return the paths of the values that break it."""
    broken: set[Path] = set()
    for error in islice(_validator().iter_errors(document.data), MAX_PROBLEMS):
        path: Path = tuple(error.absolute_path)
        of_key = "propertyNames" in error.absolute_schema_path
        wording = _bad_name if of_key else _WORDINGS.get(str(error.validator), _other)
        # One breach may be of as many keys as a mapping has.
        room = max(0, MAX_PROBLEMS - len(document.problems))
        for message, remedy, key in islice(wording(error), room):
            document.report(path, message, remedy, key)
        broken.add((*path, error.instance) if of_key else path)
    return frozenset(broken)


Wording = Iterator[tuple[str, str, str | None]]
"""(message, remedy, the key at fault or None) for each part of one error of the validator."""


def _schema(error: ValidationError) -> dict[str, Any]:
    return error.schema if isinstance(error.schema, dict) else {}


def _keyword_value(error: ValidationError) -> Any:
    """Return the value of the schema's keyword that was breached."""
    return error.validator_value


def _value(error: ValidationError) -> Any:
    return error.instance


def _expected(error: ValidationError) -> str:
    types = _schema(error).get("type", "value")
    words = " or ".join(TYPE_WORDS.get(name, name) for name in ([types] if isinstance(types, str) else types))
    return str(_schema(error).get("title", words))


def _example(error: ValidationError) -> str:
    examples = _schema(error).get("examples", ())
    words = " or ".join(text if isinstance(text, str) else json.dumps(text) for text in examples)
    return f"such as {words}" if words else ""


def _unknown_keys(error: ValidationError) -> Wording:
    known = _schema(error).get("properties", {})
    for key in _value(error):
        if key not in known:
            yield f"unknown key {shown(key)}", did_you_mean(key, current(known)), key


def _missing_key(error: ValidationError) -> Wording:
    missing = [key for key in _keyword_value(error) if key not in _value(error)]
    named = str(error.message).split("'")[1]
    if named in missing:
        yield f"the key {named!r} is missing", f"add {named}:", None


def _wrong_type(error: ValidationError) -> Wording:
    if _value(error) is None:
        yield "there is no value", f"write {_expected(error)}, or remove the key", None
    else:
        remedy = _example(error) or f"write {_expected(error)}"
        yield f"{shown(_value(error))} is not {_expected(error)}", remedy, None


def _not_listed(error: ValidationError) -> Wording:
    known = [str(word) for word in _keyword_value(error)]
    yield f"{shown(_value(error))} is not {_expected(error)}", did_you_mean(str(_value(error)), known), None


def _too_small(error: ValidationError) -> Wording:
    yield f"{shown(_value(error))} is too small", f"at least {_keyword_value(error)}", None


def _too_large(error: ValidationError) -> Wording:
    yield f"{shown(_value(error))} is too large", f"at most {_keyword_value(error)}", None


def _not_above(error: ValidationError) -> Wording:
    yield f"{shown(_value(error))} is too small", f"more than {_keyword_value(error)}", None


def _empty(error: ValidationError) -> Wording:
    yield "is empty", f"write {_expected(error)}, or leave the key out", None


def _too_many(error: ValidationError) -> Wording:
    yield f"has {len(_value(error))} entries", f"at most {_keyword_value(error)}", None


def _not_unique(error: ValidationError) -> Wording:
    yield f"{shown(_value(error))} has the same value twice", "remove one of them", None


def _bad_name(error: ValidationError) -> Wording:
    remedy = "at most 63 letters, digits, . _ and -, and a letter or digit first"
    yield f"{shown(_value(error))} is not {_expected(error)}", remedy, _value(error)


def _version(error: ValidationError) -> Wording:
    yield f"{shown(_value(error))} is not a version of the language", "write version: 1", None


def _other(error: ValidationError) -> Wording:
    yield str(error.message)[:120], _example(error) or "see docs/operators/policy.md for the language", None


_WORDINGS: dict[str, Callable[[ValidationError], Wording]] = {
    "additionalProperties": _unknown_keys,
    "required": _missing_key,
    "type": _wrong_type,
    "pattern": _wrong_type,
    "enum": _not_listed,
    "minimum": _too_small,
    "maximum": _too_large,
    "exclusiveMinimum": _not_above,
    "minLength": _empty,
    "minItems": _empty,
    "minProperties": _empty,
    "maxItems": _too_many,
    "maxProperties": _too_many,
    "maxLength": _too_large,
    "uniqueItems": _not_unique,
    "const": _version,
}
