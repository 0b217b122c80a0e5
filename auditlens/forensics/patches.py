"""A patch gives the object the apiserver would have made of it, or says that it cannot.

JSON patch is RFC 6902 (jsonpatch), merge patch RFC 7386, strategic merge patch follows
apimachinery/pkg/util/strategicpatch/patch.go with the merge keys in data/merge-rules.json. Defaulting and admission are not
imitated: what comes out is the wish of the client applied to what was there.
"""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import Any, cast

_DIRECTIVE = "$patch"
_ORDER = "$setElementOrder/"
_FROM_LIST = "$deleteFromPrimitiveList/"
_RETAIN = "$retainKeys"


class PatchError(ValueError):
    """The patch does not fit the object, or is not one."""


@cache
def _rules() -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(files("auditlens.data").joinpath("merge-rules.json").read_text(encoding="utf-8")))


def type_of(api_version: str | None, kind: str | None) -> str | None:
    """The OpenAPI type of a built-in object, None for others and for those without lists to merge."""
    group, _, version = (api_version or "").rpartition("/")
    return cast("str | None", _rules()["kinds"].get(f"{group}/{version}/{kind}"))


def json_patch(value: Any, operations: list[Any]) -> Any:
    """RFC 6902. Raises PatchError."""
    import jsonpatch
    import jsonpointer

    try:
        return jsonpatch.apply_patch(value, operations)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, KeyError, TypeError, IndexError) as e:
        raise PatchError(f"the JSON patch does not apply: {e}") from e


def merge_patch(value: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    out = dict(value) if isinstance(value, dict) else {}
    for key, wish in patch.items():
        if wish is None:
            out.pop(key, None)
        else:
            out[key] = merge_patch(out.get(key), wish)
    return out


def is_strategic(patch: Any) -> bool:
    """Whether a patch holds a directive that only strategic merge patches have."""
    if isinstance(patch, dict):
        return any(k.startswith(("$patch", "$retainKeys", _ORDER, _FROM_LIST)) or is_strategic(v) for k, v in patch.items())
    return isinstance(patch, list) and any(map(is_strategic, patch))


def strategic_patch(value: Any, patch: dict[str, Any], type_: str | None) -> Any:
    """Strategic merge patch of an object of an OpenAPI type (see `type_of`)."""
    if patch.get(_DIRECTIVE) == "replace":
        return {k: deepcopy(v) for k, v in patch.items() if k != _DIRECTIVE}
    if patch.get(_DIRECTIVE) == "delete":
        return {}
    out: dict[str, Any] = dict(value) if isinstance(value, dict) else {}
    retained = patch.get(_RETAIN)
    if isinstance(retained, list):
        out = {k: v for k, v in out.items() if k in retained}
    _set_fields(out, patch, type_)
    _set_lists(out, patch, type_)
    return out


def _set_fields(out: dict[str, Any], patch: dict[str, Any], type_: str | None) -> None:
    """What a strategic patch says of fields by their names."""
    fields, merges = _rules()["fields"].get(type_, {}), _rules()["merge"].get(type_, {})
    for key, wish in patch.items():
        if key in (_DIRECTIVE, _RETAIN) or key.startswith((_ORDER, _FROM_LIST)):
            continue
        if wish is None:
            out.pop(key, None)
        elif isinstance(wish, dict):
            out[key] = strategic_patch(out.get(key), wish, fields.get(key))
        elif isinstance(wish, list) and key in merges and merges[key][0].startswith("merge"):
            out[key] = _merged(out.get(key), wish, merges[key][1], merges[key][2], patch.get(_ORDER + key))
        else:
            out[key] = deepcopy(wish)


def _set_lists(out: dict[str, Any], patch: dict[str, Any], type_: str | None) -> None:
    """What it says of lists beside them: values that go, and the order of those it does not hold."""
    merges = _rules()["merge"].get(type_, {})
    for key, said in patch.items():
        name = key.removeprefix(_FROM_LIST).removeprefix(_ORDER)
        if not isinstance(out.get(name), list):
            continue
        if key.startswith(_FROM_LIST) and isinstance(said, list):
            out[name] = [v for v in out[name] if v not in said]
        if key.startswith(_ORDER) and name not in patch:
            out[name] = _ordered(out[name], merges.get(name, ["", ""])[1], said)


def _merged(now: Any, wish: list[Any], key: str, type_: str, order: Any) -> list[Any]:
    """The list after a patch of a list that merges, by `key` or, for primitives, as a set."""
    out = list(now) if isinstance(now, list) else []
    if not key:
        out += [v for v in wish if v not in out]
        return _ordered(out, "", order)
    if any(isinstance(w, dict) and w.get(_DIRECTIVE) == "replace" for w in wish):
        return [w for w in wish if not (isinstance(w, dict) and _DIRECTIVE in w)]
    for w in wish:
        if not isinstance(w, dict):
            raise PatchError(f"a list that merges by {key} holds {w!r}")
        at = next((i for i, v in enumerate(out) if isinstance(v, dict) and v.get(key) == w.get(key)), None)
        if w.get(_DIRECTIVE) == "delete":
            if at is not None:
                del out[at]
        elif at is None:
            out.append(strategic_patch({}, w, type_ or None))
        else:
            out[at] = strategic_patch(out[at], w, type_ or None)
    return _ordered(out, key, order)


def _ordered(values: list[Any], key: str, order: Any) -> list[Any]:
    """The values in the order of a $setElementOrder list; those it does not name keep their place after what they followed."""
    if not isinstance(order, list):
        return values

    def name(v: Any) -> Any:
        return v.get(key) if key and isinstance(v, dict) else v

    wanted = [name(v) for v in order]
    rank = {json.dumps(n, sort_keys=True): i for i, n in enumerate(wanted)}
    last, keyed = -1, []
    for i, v in enumerate(values):
        found = rank.get(json.dumps(name(v), sort_keys=True))
        last = found if found is not None else last
        keyed.append((last, found is None, i, v))
    return [v for *_, v in sorted(keyed, key=lambda k: k[:3])]
