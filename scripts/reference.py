"""Reference pages that are made of the program: ``python -m scripts.reference`` writes them, a test compares them.

``docs/reference/rest.md`` is made of the OpenAPI document, ``commands.md`` of the parsers of both commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowlane.manual import commands

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowlane.manual.commands import Command, Option, Value

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

_REST = """\
# REST, every path and field

Each method and path of `/v1`, with parameters, answers and the fields of what is sent and answered. The page is
made of `GET /openapi.json` by `python -m scripts.reference`; pages, filters, errors and events are explained in
[REST](../operators/rest-api.md).
"""

_COMMANDS = """\
# Commands, every option

`flowlane` and `flowlane-manager` with all subcommands, options and arguments. The page is made of the programs'
own help by `python -m scripts.reference`; [command line](../operators/cli.md) has examples, output and exit codes.
"""


def cell(text: object) -> str:
    """Escape a text for a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "\\<")


def table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Write a table, nothing where it has no rows."""
    if rows:
        yield f"| {' | '.join(titles)} |"
        yield f"|{' --- |' * len(titles)}"
        yield from (f"| {' | '.join(row)} |" for row in rows)
        yield ""


# ---- REST


def kind(schema: Mapping[str, Any]) -> str:
    """Name what a JSON Schema allows, in a few words; objects by the name of their schema."""
    if ref := schema.get("$ref"):
        name = ref.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if choices := schema.get("enum"):
        return ", ".join(f"`{cell(choice)}`" for choice in choices)
    if several := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(kind(one) for one in several)
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"mapping to {kind(schema['additionalProperties'])}"
    described = schema.get("type", "any")
    described = " or ".join(described) if isinstance(described, list) else str(described)
    return f"{described} ({schema['format']})" if "format" in schema else described


def rest(document: Mapping[str, Any]) -> str:
    """Write the page of REST."""
    lines = [_REST]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines += [f"## {method.upper()} {path}", "", *_operation(operation)]
    lines += ["## Objects", ""]
    for name, schema in document["components"]["schemas"].items():
        lines += [f"### {name}", "", cell(schema.get("description", "")), ""]
        required = schema.get("required", [])
        rows = [
            (
                f"`{field}`{'' if field in required else ' (may be missing)'}",
                kind(shape),
                cell(shape.get("description", "")),
            )
            for field, shape in schema.get("properties", {}).items()
        ]
        lines += table(("field", "value", "meaning"), rows)
    return "\n".join(lines).rstrip() + "\n"


def _field(name: str, required: bool) -> str:
    return f"`{name}`" if required else f"`{name}` (may be missing)"


def _operation(operation: Mapping[str, Any]) -> Iterator[str]:
    text = operation.get("description") or operation.get("summary", "")
    yield cell(text)
    yield ""
    rows = [
        (f"`{item['name']}`", item["in"], kind(item.get("schema", {})), cell(item.get("description", "")))
        for item in operation.get("parameters", [])
        if "name" in item
    ]
    yield from table(("parameter", "in", "value", "meaning"), rows)
    body = operation.get("requestBody", {}).get("content", {})
    for media, content in body.items():
        yield f"Body: {kind(content.get('schema', {}))} (`{media}`)."
        yield ""
    answers: list[tuple[str, ...]] = []
    for status, answer in operation.get("responses", {}).items():
        shapes = [
            f"{kind(c.get('schema', {}))} (`{media}`)" for media, c in answer.get("content", {}).items()
        ]
        answers.append((str(status), ", ".join(shapes) or "-", cell(answer.get("description", ""))))
    yield from table(("status", "answer", "when"), answers)


# ---- commands


def reference_of_commands(*programs: Command) -> str:
    """Write the page of the commands."""
    lines = [_COMMANDS]
    for program in programs:
        lines += _command(program, 2)
    return "\n".join(lines).rstrip() + "\n"


def _command(command: Command, level: int) -> Iterator[str]:
    yield f"{'#' * level} {' '.join(command.words)}"
    yield ""
    yield cell(command.about)
    yield ""
    yield from table(
        ("argument", "meaning"), [(_name(value), cell(value.about)) for value in command.positionals]
    )
    for title, about, options in command.groups:
        if level == 2 and title:
            yield f"**{title}.** {cell(about)}".rstrip()
            yield ""
        yield from table(("option", "meaning"), [(_flags(option), cell(option.about)) for option in options])
    if command.subcommands:
        rows = [
            (f"[`{sub.words[-1]}`](#{'-'.join(sub.words)})", cell(sub.about)) for sub in command.subcommands
        ]
        yield from table(("subcommand", "does"), rows)
    for sub in command.subcommands:
        yield from _command(sub, min(level + 1, 4))


def _name(value: Value) -> str:
    return (
        f"`{cell(value.name)}`"
        + (", several" if value.many else "")
        + (", may be left out" if value.optional else "")
    )


def _flags(option: Option) -> str:
    flags = ", ".join(f"`{flag}`" for flag in option.flags)
    value = ""
    if option.value is not None:
        value = " " + ("\\|".join(f"`{c}`" for c in option.value.choices) or f"`{cell(option.value.name)}`")
    notes = ", required" * option.required + ", may be repeated" * option.repeated
    return f"{flags}{value}{notes}"


# ---- the pages


def pages() -> dict[str, str]:
    """Return the text of each page, by the name of its file."""
    programs = commands.flowlane(), commands.manager()  # They choose os-ken's hub, so they come first.
    from flowlane.northbound.app import ROUTES  # noqa: PLC0415
    from flowlane.northbound.openapi import document  # noqa: PLC0415

    return {"rest.md": rest(document(ROUTES)), "commands.md": reference_of_commands(*programs)}


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
