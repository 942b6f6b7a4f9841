"""Options of files, messages and fields. Those that protobuf itself knows are set; others are kept as they are written."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, UninterpretedOption

from .words import Words


def read_option(words: Words, options: Any) -> None:
    """`name = value`, set on the options or kept."""
    name = _name(words)
    words.expect("=")
    _set(words, options, name)


def read_bracketed(words: Words, options: Any) -> list[tuple[str, Any]]:
    """`[name = value, ...]`; gives `default` and `json_name`, which belong to the field itself."""
    own: list[tuple[str, Any]] = []
    if not words.takes("["):
        return own
    while True:
        name = _name(words)
        words.expect("=")
        if name in ("default", "json_name"):
            own.append((name, _value(words)))
        else:
            _set(words, options, name)
        if words.takes("]"):
            return own
        words.expect(",")


def take_default(words: Words, field: FieldDescriptorProto, name: str, value: Any) -> None:
    """A field's default, as text; or its name in JSON."""
    if name == "json_name":
        field.json_name = str(value)
    elif isinstance(value, bool):
        field.default_value = "true" if value else "false"
    elif field.type == FieldDescriptorProto.TYPE_BYTES:
        words.fail("defaults of bytes are not read as text; register the descriptor instead (base64)")
    else:
        field.default_value = str(value)


def _name(words: Words) -> str:
    """A plain name, or one in parentheses with what is meant within it."""
    if not words.takes("("):
        return words.name()
    name = f"({words.name()})"
    words.expect(")")
    if words.next.kind == "name" and words.next.text.startswith("."):
        name += words.name()
    return name


def _value(words: Words) -> Any:
    if words.next.kind == "text":
        return words.text()
    if words.next.kind == "name":
        word = words.name()
        return {"true": True, "false": False}.get(word, word)
    sign = "-" if words.takes("-") else ""
    word = words.take()
    try:
        return int(sign + word)
    except ValueError:
        pass
    try:
        return float(sign + word) if not word.startswith("0x") else int(sign + word, 16)
    except ValueError:
        return words.fail(f"{sign}{word} is no value")


def _set(words: Words, options: Any, name: str) -> None:
    known = options.DESCRIPTOR.fields_by_name.get(name)
    if known is None or known.message_type is not None:
        _keep(words, options, name)
        return
    value = _value(words)
    if known.enum_type is not None:
        if value not in known.enum_type.values_by_name:
            words.fail(f"{value} is no value of the option {name}")
        value = known.enum_type.values_by_name[value].number
    try:
        if known.is_repeated:
            getattr(options, name).append(value)
        else:
            setattr(options, name, value)
    except (TypeError, ValueError):
        words.fail(f"{value!r} is no value of the option {name}")


def _keep(words: Words, options: Any, name: str) -> None:
    """A custom option: what it means is in another file, so its words are kept."""
    option = options.uninterpreted_option.add()
    custom, _, rest = name.removeprefix("(").partition(")") if name.startswith("(") else ("", "", name)
    if custom:
        option.name.add(name_part=custom, is_extension=True)
    for part in filter(None, rest.split(".")):
        option.name.add(name_part=part, is_extension=False)
    if words.next.text == "{" and words.next.kind == "sign":
        option.aggregate_value = _aggregate(words)
        return
    _give(option, _value_word(words))


def _value_word(words: Words) -> Any:
    is_text = words.next.kind == "text"
    value = _value(words)
    return value.encode("utf-8", "surrogateescape") if is_text else value


def _give(option: UninterpretedOption, value: Any) -> None:
    match value:
        case bytes():
            option.string_value = value
        case bool():
            option.identifier_value = "true" if value else "false"
        case str():
            option.identifier_value = value
        case int() if value >= 0:
            option.positive_int_value = value
        case int():
            option.negative_int_value = value
        case _:
            option.double_value = value


def _aggregate(words: Words) -> str:
    """The words between braces, with single spaces."""
    words.expect("{")
    depth, parts = 1, list[str]()
    while True:
        word = words.next
        depth += (word.text == "{") - (word.text == "}") if word.kind == "sign" else 0
        if word.kind == "end":
            words.fail("a brace is not closed")
        words.take()
        if not depth:
            return " ".join(parts)
        parts.append(word.text)
