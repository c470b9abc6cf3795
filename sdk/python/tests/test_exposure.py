"""What SKILLS expose, and what they do not."""

from __future__ import annotations

import enum
import sys
import types
from pathlib import Path
from typing import Any, Dict, Optional

import pytest

from aigis import skill
from aigis._host.exposure import MAX_LEAVES, Exposure, Wrong
from aigis.errors import InvalidArgument


def expose(names: Dict[str, Any], root: Path = Path("/nowhere"), effects: Optional[Dict[str, str]] = None) -> Any:
    return Exposure(str(root), effects or {}, None).expose(names)


def kinds(names: Dict[str, Any], root: Path = Path("/nowhere")) -> Dict[str, str]:
    return {path: leaf.kind for path, leaf in expose(names, root).items()}


@pytest.fixture
def module(tmp_path: Path) -> Any:
    """A package ``mine`` of two modules, which imports what is not its own."""
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os, re\nimport smtplib\nfrom . import inner\nfrom os.path import join\nfrom mine.inner import helper\n"
        "SMTP = smtplib.SMTP()\nTAG = '[a-z]'\n_hidden = 1\nPATTERN = re.compile('x')\n"
        "class Error(Exception): pass\n"
        "class Thing:\n    LIMIT = 3\n    def method(self): pass\n    @classmethod\n    def make(cls): pass\n    @staticmethod\n    def help(): pass\n"
        "    @property\n    def prop(self): raise RuntimeError\nthing = Thing()\ndef f(): pass\n"
    )
    (package / "inner.py").write_text("import json\ndef helper(): pass\nDEEP = {'a': 1}\n")
    sys.path.insert(0, str(tmp_path))
    import mine  # type: ignore[import-not-found]

    yield mine
    sys.path.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


def test_plg_28_a_module_offers_what_is_at_home_in_it(module: Any) -> None:
    assert kinds({"SKILLS": ["mine"], "mine": module}) == {
        "mine.TAG": "value",
        "mine.inner.helper": "function",
        "mine.inner.DEEP": "value",
        "mine.helper": "function",
        "mine.Error": "exception",
        "mine.Thing": "class",
        "mine.Thing.LIMIT": "value",
        "mine.Thing.make": "function",
        "mine.Thing.help": "function",
        "mine.thing.LIMIT": "value",
        "mine.thing.method": "function",
        "mine.thing.make": "function",
        "mine.thing.help": "function",
        "mine.thing.prop": "value",
        "mine.f": "function",
    }


def test_a_name_that_is_listed_is_offered_whatever_its_home(module: Any) -> None:
    assert kinds({"SKILLS": ["mine.os.getpid", "mine.join"], "mine": module}) == {
        "mine.os.getpid": "function",
        "mine.join": "function",
    }


def test_all_says_what_is_public(module: Any) -> None:
    module.__all__ = ["f", "join", "_hidden", "nothing"]
    assert kinds({"SKILLS": ["mine"], "mine": module}) == {"mine.f": "function", "mine.join": "function"}


def test_properties_are_read_when_they_are_asked_for(module: Any) -> None:
    leaf = expose({"SKILLS": ["mine"], "mine": module})["mine.thing.prop"]
    with pytest.raises(RuntimeError):
        leaf.call([], {}, None)


def test_plain_data_is_read_anew(module: Any) -> None:
    leaf = expose({"SKILLS": ["mine"], "mine": module})["mine.TAG"]
    module.TAG = "[0-9]"
    assert leaf.call([], {}, None) == "[0-9]"


def test_enums_callables_and_cycles() -> None:
    class Colour(enum.Enum):
        RED = 1

    class Callable:
        def __call__(self, x: int) -> int:
            return x

    class Node:
        def __init__(self) -> None:
            self.me = self
            self.name = "n"

    found = kinds(
        {
            "SKILLS": ["Colour", "call", "node", "data", "none", "fn"],
            "Colour": Colour,
            "call": Callable(),
            "node": Node(),
            "data": [1],
            "none": None,
            "fn": lambda: 1,
        }
    )
    assert found == {
        "Colour": "class",
        "Colour.RED": "value",
        "call": "function",
        "node.name": "value",
        "data": "value",
        "none": "value",
        "fn": "function",
    }


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({}, "SKILLS"),
        ({"SKILLS": 5}, "int"),
        ({"SKILLS": [1]}, "no name"),
        ({"SKILLS": ["good", "god"], "good": 1}, "did you mean good"),
        ({"SKILLS": ["os.getpidd"], "os": __import__("os")}, "os has no getpidd; did you mean getpid"),
        ({"SKILLS": ["a b"]}, "no name"),
        ({"SKILLS": [""]}, "no name"),
        ({"SKILLS": ["_x"], "_x": 1}, "private"),
        ({"SKILLS": ["x.__class__"], "x": 1}, "private"),
        ({"SKILLS": ["x"], "x": types.SimpleNamespace(**{f"a{i}": 1 for i in range(MAX_LEAVES + 1)})}, "list names"),
    ],
)  # fmt: skip
def test_plg_20_what_is_wrong_is_named(names: Dict[str, Any], words: str) -> None:
    with pytest.raises(Wrong, match=words):
        expose(names)


def test_depth() -> None:
    def nest(levels: int) -> Any:
        return types.SimpleNamespace(**{f"l{levels}": nest(levels - 1)}) if levels else 1

    assert len(kinds({"SKILLS": ["x"], "x": nest(4)})) == 1
    with pytest.raises(Wrong, match="list names"):
        kinds({"SKILLS": ["x"], "x": nest(5)})


def test_a_string_counts_as_its_letters() -> None:
    exposure = Exposure("/nowhere", {}, None)
    assert list(exposure.expose({"SKILLS": "ab", "a": 1, "b": 2})) == ["a", "b"]
    assert "each letter" in exposure.warnings[0]
    assert list(kinds({"SKILLS": (name for name in ["a", "a"]), "a": 1})) == ["a"]


def leaf(function: Any) -> Any:
    return expose({"SKILLS": ["f"], "f": function})["f"]


def called(function: Any, *args: Any, **kwargs: Any) -> Any:
    return leaf(function).call(list(args), kwargs, "LOGGER")


def test_the_logger_goes_where_it_is_left_open() -> None:
    assert called(lambda x, logger: (x, logger), 1) == (1, "LOGGER")
    assert called(lambda x, log=None: (x, log), 1) == (1, "LOGGER")
    assert called(lambda logger, log=None: (logger, log)) == ("LOGGER", None)
    assert called(lambda x, *, logger: (x, logger), 1) == (1, "LOGGER")
    assert called(lambda x, logger=None: (x, logger), 1, "mine") == (1, "mine")
    assert called(lambda x, logger=None: (x, logger), 1, logger="mine") == (1, "mine")
    assert called(lambda logger=5: logger) == 5
    assert called(lambda **kwargs: kwargs) == {}
    assert called(lambda *log: log) == ()
    with pytest.raises(InvalidArgument, match="'x'"):
        called(lambda x, logger: 1)


def test_signatures_schemas_and_docs() -> None:
    def f(
        a: int, b: "str" = "x", *rest: int, c: Optional[Dict[str, float]] = None, logger: Any = None, **more: bool
    ) -> list:  # type: ignore[type-arg]
        """Does it."""
        return []

    told = leaf(f).describe()
    assert told["doc"] == "Does it." and "logger" not in told["signature"] and told["effect"] == "write"
    assert told["input"]["required"] == ["a"] and list(told["input"]["properties"]) == ["a", "b", "c"]
    assert told["input"]["properties"]["b"] == {"type": "string", "default": "x"}
    assert told["input"]["additionalProperties"] == {"type": "boolean"} and told["output"] == {"type": "array"}
    assert told["timeout_ms"] is None and told["stream"] is False


def test_marks() -> None:
    @skill(effect="read", timeout_s=2)
    def f() -> None: ...

    @skill
    def g() -> None: ...

    assert (leaf(f).effect, leaf(f).timeout_s, leaf(g).effect) == ("read", 2, "write")
    assert expose({"SKILLS": ["f"], "f": f}, effects={"f": "admin"})["f"].effect == "admin"
    with pytest.raises(ValueError):
        skill(effect="all")
    with pytest.raises(Wrong, match="EFFECTS"):
        expose({"SKILLS": ["f"], "f": f}, effects={"f": "all"})
