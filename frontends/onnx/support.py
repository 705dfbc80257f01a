"""Which operators of a model graphc has, told for all of them at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from graphc.errors import UnsupportedOp, escape
from graphc.names import did_you_mean
from graphc.ops import BY_NAME

from .definitions import is_defined
from .gradient import is_gradient
from .schema import newest_schema, newest_version, schema_of, versions_of
from .versions import ADAPTERS, IDENTICAL, RENAMED


def unsupported_reason(op: str, domain: str, opsets: Mapping[str, int]) -> str | None:
    """Why the operator cannot be loaded, or None when it can."""
    shown = f"{escape(domain)}.{escape(op)}" if domain else escape(op)
    version = opsets.get(domain)
    if version is None:
        return f"{shown} (the model does not import the domain {escape(domain) or 'ai.onnx'})"
    if newest_version(domain) is None:
        return None if (domain, op) in BY_NAME else f"{shown} (domain {escape(domain)} is not known)"
    schema = schema_of(op, version, domain)
    if schema is None:
        known = versions_of(op, domain)
        if known:
            return f"{shown} (exists since opset {known[0]}, the model imports {version})"
        hint = did_you_mean(op, [n for d, n in BY_NAME if d == domain]).strip()
        return f"{shown} ({f'no such operator. {hint}' if hint else 'no such operator'})"
    since = schema.since_version
    if is_gradient(op, domain):
        return None
    if (domain, RENAMED.get(op, op)) not in BY_NAME:
        return None if is_defined(schema) else f"{shown}-{since}"
    if (op, since) not in ADAPTERS and since not in IDENTICAL.get(op, ()):
        newest = newest_schema(op, domain)
        if schema.deprecated:
            return f"{shown}-{since} (removed in opset {since})"
        if newest is None or newest.since_version != since:
            return f"{shown}-{since} (this version is not supported)"
    return None


def raise_unsupported(found: Counter[str]) -> None:
    """Raise `UnsupportedOp` listing all reasons in `found`, if there are any."""
    if found:
        listed = ", ".join(f"{reason} ×{n}" if n > 1 else reason for reason, n in sorted(found.items()))
        raise UnsupportedOp(f"{len(found)} operators of the model are not supported: {listed}")
