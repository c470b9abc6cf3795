"""Values: what goes in comes back the same, and what cannot travel is named by its place."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import random
import uuid
from typing import Any, Dict, List, NamedTuple

import pytest

from aigis._values import Member, Record, Unreadable, Unsendable, from_json, refuse, to_json
from aigis._values.encode import MAX_DEPTH


class Colour(enum.Enum):
    RED = "r"


@dataclasses.dataclass(frozen=True)
class Spot:
    x: int
    label: str = "none"

    def __post_init__(self) -> None:
        assert self.label != "forbidden"


class Pair(NamedTuple):
    a: int
    b: int


def there_and_back(value: Any) -> Any:
    return from_json(to_json(value, refuse), no_handles)


def no_handles(ref: Dict[str, Any]) -> Any:
    raise AssertionError("no handle was sent")


ZONE = datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))
PLAIN: List[Any] = [
    None, True, 0, -(2**63), 2**64 - 1, 2**64, -(2**63) - 1, 2**100, 10**9_999, -(10**4_400), 1.0, -0.0, 0.1 + 0.2, 1e300, -1e300, 2.0**63,
    5e-324, math.inf, -math.inf, "", "é\u2028\x00\U0001f600", b"", bytes(range(256)), [], {}, (), set(), frozenset(), {"$ref": 1}, {"$": 1, "a": 2}, {1: 2},
    {"a": {"$bytes": "x"}}, {(1, 2): [3]}, {None: 1, True: 2}, {1.5, "a", (1,), frozenset({2})}, [(1, [2, (3,)])],
    datetime.datetime(2020, 1, 1), datetime.datetime(1, 1, 1, 0, 0, 0, 1), datetime.datetime(2026, 11, 22, 9, 30, 15, 123456, ZONE),
    datetime.datetime.now(datetime.timezone.utc), datetime.date(2024, 2, 29), datetime.time(23, 59, 59, 999999), datetime.time(1, 2, tzinfo=ZONE),
    datetime.timedelta(), datetime.timedelta(days=-1, microseconds=1), datetime.timedelta(seconds=1.5), datetime.timedelta.max, datetime.timedelta.min,
    decimal.Decimal("-1.50"), decimal.Decimal("1E+400"), uuid.UUID(int=7), complex(1, -2), complex(1e300, math.inf),
    pathlib.PurePosixPath("/a/b"), Colour.RED, Spot(1, "a"),
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: f"{type(value).__name__}")
def test_plg_38_what_goes_in_comes_back(value: Any) -> None:
    back = there_and_back(value)
    assert back == value and type(back) is type(value)
    # The sign of zero is seen in its text alone.
    assert not isinstance(value, float) or repr(back) == repr(value)


def test_plg_38_what_comes_back_as_something_near() -> None:
    assert math.isnan(there_and_back(math.nan))
    assert there_and_back(bytearray(b"ab")) == b"ab" and type(there_and_back(memoryview(b"ab"))) is bytes
    assert there_and_back(Pair(1, 2)) == (1, 2) and type(there_and_back(Pair(1, 2))) is tuple
    ordered = collections.OrderedDict([("b", 1), ("a", 2)])
    assert list(there_and_back(ordered)) == ["b", "a"] and type(there_and_back(ordered)) is dict
    assert there_and_back(collections.Counter("aab")) == {"a": 2, "b": 1}
    assert there_and_back(pathlib.Path("/x")) == pathlib.Path("/x")
    error = there_and_back(ValueError("boo", 3))
    assert isinstance(error, ValueError) and str(error) == "('boo', 3)" and error.args == ("boo", 3)


def test_plg_38_classes_that_are_not_imported_here() -> None:
    text = '{"$enum":{"type":"far.Colour","name":"RED","value":{"$tuple":[1]}}}'
    member = from_json(text, no_handles)
    assert member == Member("far.Colour", "RED", (1,)) and to_json(member, refuse) == text
    text = '{"$record":{"type":"far.Spot","fields":{"x":1,"b":{"$bytes":""}}}}'
    record = from_json(text, no_handles)
    assert (record.x, record.b) == (1, b"") and to_json(record, refuse) == text
    assert record == Record("far.Spot", {"x": 1, "b": b""}) and hash(record) == hash(record)


def test_plg_38_nothing_is_imported_or_run_because_of_a_value() -> None:
    import sys

    assert "this" not in sys.modules
    from_json('{"$enum":{"type":"this.Zen","name":"a","value":1}}', no_handles)
    from_json('{"$record":{"type":"os.system","fields":{"command":"true"}}}', no_handles)
    assert "this" not in sys.modules
    # The initialiser of a dataclass is code too.
    spot = from_json('{"$record":{"type":"test_values.Spot","fields":{"x":1,"label":"forbidden"}}}', no_handles)
    assert type(spot) is Spot and spot.label == "forbidden"
    other = from_json('{"$record":{"type":"test_values.Spot","fields":{"x":1}}}', no_handles)
    assert type(other) is Record


def any_value(random: random.Random, depth: int = 0) -> Any:
    kinds = ["plain"] * 3 + ([] if depth > 4 else ["list", "tuple", "dict", "map", "set"])
    kind = random.choice(kinds)
    if kind == "plain":
        return random.choice([
            random.getrandbits(random.choice([1, 8, 63, 64, 200])) * random.choice([1, -1]),
            random.uniform(-1, 1) * 10 ** random.randint(-320, 308),
            "".join(chr(random.choice([random.randrange(32, 127), random.randrange(1, 0xD800), 0x1F600])) for _ in range(random.randrange(12))),
            random.randbytes(random.randrange(40)),
            datetime.timedelta(microseconds=random.randrange(-(10**15), 10**15)),
            datetime.datetime(2000, 1, 1) + datetime.timedelta(microseconds=random.randrange(10**16)),
            decimal.Decimal(random.getrandbits(80)).scaleb(random.randint(-40, 40)),
            uuid.UUID(int=random.getrandbits(128)), random.choice(PLAIN),
        ])  # fmt: skip
    several = [any_value(random, depth + 1) for _ in range(random.randrange(5))]
    if kind == "list":
        return several
    if kind == "tuple":
        return tuple(several)
    hashable = [value for value in several if is_hashable(value)]
    if kind == "set":
        return set(hashable)
    keys: List[Any] = (
        hashable if kind == "map" else [random.choice(["$", ""]) + str(index) for index in range(len(several))]
    )
    return dict(zip(keys, several))


def is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


@pytest.mark.parametrize("seed", range(20))
def test_plg_38_any_value_comes_back(seed: int) -> None:
    source = random.Random(seed)
    for _ in range(60):
        value = any_value(source)
        assert there_and_back(value) == value


def test_order_of_keys_and_of_sets() -> None:
    assert list(there_and_back({"z": 1, "a": 2, "m": 3})) == ["z", "a", "m"]
    assert to_json({3, 1, 2}, refuse) == '{"$set":[1,2,3]}' == to_json({2, 3, 1}, refuse)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def cyclic() -> Any:
    value: Any = {"a": [1]}
    value["a"].append(value)
    return value


@pytest.mark.parametrize(
    ("value", "place", "why"),
    [
        (cyclic(), "args[0].a[1]", "holds itself"),
        (deep(200), "args[0][0]", "128 levels"),
        ({"x": ["\ud800"]}, "args[0].x[0]", "surrogate"),
        ({"\ud800": 1}, "args[0]", "surrogate"),
        ([{"k": object()}], "args[0][0].k", "object"),
        ({1: object()}, "args[0][1]", "object"),
        ((1, {2: (3, object())}), "args[0][1][2][1]", "object"),
        (10**10_000, "args[0]", "10000 digits"),
    ],
    ids=["cycle", "depth", "surrogate", "surrogate-key", "object", "map", "tuples", "digits"],
)
def test_plg_39_what_cannot_travel_is_named_by_its_place(value: Any, place: str, why: str) -> None:
    with pytest.raises(Unsendable) as caught:
        to_json(value, refuse)
    message = caught.value.message("args[0]")
    assert message.startswith(place) and why in message


def test_plg_39_the_deepest_that_travels() -> None:
    assert there_and_back(deep(MAX_DEPTH)) == deep(MAX_DEPTH)
    with pytest.raises(Unsendable):
        to_json(deep(MAX_DEPTH + 1), refuse)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"args":[1,{"x":{"$foo":1}}]}', "args[1].x"),
        ('{"args":[{"$bytes":"*"}]}', "args[0]"),
        ('{"args":[{"$bytes":"","$uuid":""}]}', "args[0]"),
        ('{"args":[{"a":1,"a":2}]}', "args[0]"),
        ('{"args":[{"$tuple":[{"$set":[[1]]}]}]}', "args[0][0]"),
        ('{"args":[{"$record":{"fields":{}}}]}', "args[0]"),
        ('{"args":[{"$datetime":"2026-02-30T00:00:00"}]}', "args[0]"),
        ('{"args":[{"$int":"1.5"}]}', "args[0]"),
        ('{"args":[NaN]}', "the body"),
        ("[1", "the body"),
        ("[" * 100_000, "the body"),
    ],
)
def test_plg_39_what_cannot_be_read_is_named_by_its_place(text: str, place: str) -> None:
    with pytest.raises(Unreadable) as caught:
        from_json(text, no_handles)
    assert (caught.value.place or "the body") == place


def test_any_text_is_read_or_refused() -> None:
    source = random.Random(1)
    tags = [
        "bytes",
        "datetime",
        "time",
        "date",
        "duration",
        "decimal",
        "uuid",
        "int",
        "float",
        "complex",
        "set",
        "map",
        "path",
        "enum",
        "record",
        "error",
        "x",
    ]
    inner = [
        '"1"',
        "1",
        "[1]",
        '["a",1]',
        '{"type":"a.b","name":"x","value":1}',
        "null",
        '"2020-01-01T00:00:00+25:00"',
        '{"message":1}',
        "[[1,2]]",
        "1e400",
    ]
    for _ in range(2_000):
        text = f'{{"${source.choice(tags)}":{source.choice(inner)}}}'
        try:
            from_json(text, no_handles)
        except Unreadable:
            pass


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            '{"$datetime":"2026-11-21T07:25:40.450Z"}',
            datetime.datetime(2026, 11, 21, 7, 25, 40, 450_000, datetime.timezone.utc),
        ),
        ('{"$duration":1.5}', datetime.timedelta(seconds=1.5)),
        ('{"$float":"NaN"}', None),
        ('{"$float":"Infinity"}', math.inf),
        ('{"$float":"1.5"}', 1.5),
    ],
)
def test_what_other_clients_write(text: str, value: Any) -> None:
    back = from_json(text, no_handles)
    assert back == value or (value is None and math.isnan(back))
