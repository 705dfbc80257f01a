"""ONNX's own schemas: which operator a node means, and whether its attributes and its numbers of values fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import onnx
from onnx import AttributeProto, defs

from graphc.errors import InvalidModel, UnsupportedVersion, escape
from graphc.names import did_you_mean

from .survey import standard_domain, text

Schema = defs.OpSchema
FOREIGN = {"com.microsoft": 1}  # domains without schemas here, of which graphc has operators
NEWEST = defs.onnx_opset_version()


@cache
def _history() -> Sequence[Schema]:
    """All versions of all operators: onnx takes as long to list them as to load a network."""
    return defs.get_all_schemas_with_history()


@cache
def domains() -> dict[str, int]:
    """Domain -> its newest version, for the domains that ONNX defines."""
    found = {"": NEWEST}
    for schema in _history():
        found[schema.domain] = max(schema.since_version, found.get(schema.domain, 0))
    return found


def newest_version(domain: str) -> int | None:
    """The newest version of a domain; None for one that ONNX does not define."""
    return NEWEST if domain == "" else domains().get(domain)


@cache
def schema_of(op: str, version: int, domain: str) -> Schema | None:
    """The schema of `op` in opset `version` of `domain`; None where there is none."""
    if not 0 < version < 1 << 31:
        return None
    try:
        return defs.get_schema(op, version, domain)
    except defs.SchemaError:
        return None


@cache
def versions_of(op: str, domain: str) -> tuple[int, ...]:
    """The opsets in which `op` came into `domain` and changed, in order; none when it is not known."""
    return tuple(sorted(s.since_version for s in _history() if (s.domain, s.name) == (domain, op)))


@cache
def newest_schema(op: str, domain: str) -> Schema | None:
    """The schema of `op` in the newest opset, also of an operator that was removed."""
    return schema_of(op, newest_version(domain) or 1, domain)


def read_opsets(model: onnx.ModelProto) -> dict[str, int]:
    """Domain -> imported version. Raises `InvalidModel` and `UnsupportedVersion`."""
    if not model.HasField("ir_version"):
        raise InvalidModel("the model has no ir_version")
    if model.ir_version < 1:
        raise InvalidModel(f"ir_version is {model.ir_version}, expected 1..{onnx.IR_VERSION}")
    if model.ir_version > onnx.IR_VERSION:
        raise UnsupportedVersion(
            f"the model has ir_version {model.ir_version}, supported 1–{onnx.IR_VERSION}", hint="Install a newer onnx"
        )
    if not model.opset_import:
        if model.ir_version >= 3:
            raise InvalidModel("the model has no opset_import", hint='Add one, such as ("", 21)')
        return {"": 1}
    opsets: dict[str, int] = {}
    for entry in model.opset_import:
        domain = standard_domain(text(entry.domain, "domain"))
        shown = escape(domain) or "ai.onnx"
        if opsets.get(domain, entry.version) != entry.version:  # skl2onnx writes some twice, at one version
            raise InvalidModel(f"opset_import has the domain {shown} twice: {opsets[domain]} and {entry.version}")
        check_opset(domain, entry.version)
        opsets[domain] = int(entry.version)
    return opsets


def check_opset(domain: str, version: int) -> None:
    """Raise unless `version` of `domain` exists; domains that ONNX does not know may have any."""
    shown = escape(domain) or "ai.onnx"
    if version < 1:
        raise InvalidModel(f"the opset of {shown} is {version}, expected 1 or more")
    newest = newest_version(domain)
    if newest is not None and version > newest:
        raise UnsupportedVersion(
            f"opset of {shown}: model {version}, supported 1–{newest}",
            hint="Install a newer onnx, or convert with onnx.version_converter.convert_version",
        )


# -- whether a node fits its schema -----------------------------------------------------------------------------------
def check_arity(node: onnx.NodeProto, schema: Schema) -> None:
    """Raise `InvalidModel` unless the numbers of inputs and outputs are as the schema says."""
    for what, given, least, most, formals in (
        ("input", node.input, schema.min_input, schema.max_input, schema.inputs),
        ("output", node.output, schema.min_output, schema.max_output, schema.outputs),
    ):
        count = len(given)
        while count and not given[count - 1]:
            count -= 1  # trailing empty names are omitted values
        if least <= len(given) and count <= most:
            continue
        wanted = str(least) if least == most else f"{least} or more" if most > 1 << 30 else f"{least} to {most}"
        names = ", ".join(f.name for f in formals)
        raise InvalidModel(f"has {len(given)} {what}s, {schema.name}-{schema.since_version} takes {wanted} ({names})")


# AttributeProto field -> its type, to tell the type where an old model does not say it.
FIELDS: dict[int, str] = {
    AttributeProto.FLOAT: "f", AttributeProto.INT: "i", AttributeProto.STRING: "s", AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g", AttributeProto.SPARSE_TENSOR: "sparse_tensor", AttributeProto.TYPE_PROTO: "tp",
    AttributeProto.FLOATS: "floats", AttributeProto.INTS: "ints", AttributeProto.STRINGS: "strings",
}  # fmt: skip


def attribute_type(attribute: AttributeProto) -> int:
    """The type of an attribute; that of its only field where an old model does not say it."""
    if attribute.type != AttributeProto.UNDEFINED:
        return int(attribute.type)
    set_fields = {field.name for field, _ in attribute.ListFields()}
    found = [kind for kind, name in FIELDS.items() if name in set_fields]
    return int(found[0]) if len(found) == 1 else int(AttributeProto.UNDEFINED)


def check_attributes(attributes: Iterable[AttributeProto], schema: Schema) -> None:
    """Raise `InvalidModel` unless names and types are the schema's and what is required is there."""
    given: set[str] = set()
    op = f"{schema.name}-{schema.since_version}"
    for attribute in attributes:
        name = text(attribute.name, "attribute name")
        if name not in schema.attributes:
            known = ", ".join(sorted(schema.attributes)) or "none"
            raise InvalidModel(
                f"{op} has no attribute '{escape(name)}', it has: {known}",
                hint=did_you_mean(name, schema.attributes).strip(),
            )
        if name in given:
            raise InvalidModel(f"attribute '{name}' is given twice")
        given.add(name)
        kind, wanted = attribute_type(attribute), _type_number(schema.attributes[name])
        if kind != wanted:
            raise InvalidModel(f"attribute '{name}' is of type {_type_name(kind)}, {op} expects {_type_name(wanted)}")
    for name, formal in schema.attributes.items():
        if formal.required and name not in given:
            raise InvalidModel(f"attribute '{name}' is missing, {op} requires it")


def _type_number(formal: Schema.Attribute) -> int:
    return int(AttributeProto.AttributeType.Value(str(formal.type).rpartition(".")[2]))


def _type_name(kind: int) -> str:
    return AttributeProto.AttributeType.Name(kind) if kind in AttributeProto.AttributeType.values() else str(kind)


@cache
def _old_defaults(op: str, since: int, domain: str) -> tuple[tuple[str, object], ...]:
    schema, newest = schema_of(op, since, domain), newest_schema(op, domain)
    found = []
    for name, formal in () if schema is None else schema.attributes.items():
        default = formal.default_value
        if default.type == AttributeProto.UNDEFINED or newest is None:
            continue
        now = newest.attributes.get(name)
        if now is None or default != now.default_value:
            value = onnx.helper.get_attribute_value(default)
            found.append((name, value.decode() if isinstance(value, bytes) else value))
    return tuple(found)


def old_defaults(schema: Schema) -> dict[str, object]:
    """The defaults of an older version that are not those of the newest one, or of attributes that it lost."""
    return dict(_old_defaults(schema.name, schema.since_version, schema.domain))
