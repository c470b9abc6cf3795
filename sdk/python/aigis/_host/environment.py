"""The variables that plugins ask for which share a process."""

from __future__ import annotations

import os
from typing import Dict, List, Mapping

#: Which plugin set a variable.
_owners: Dict[str, str] = {}


def give(plugin: str, asked: Mapping[str, str]) -> List[str]:
    """Sets what nobody else has set, and says in words what it left alone: a process has one value of each variable."""
    warnings = []
    for name, value in asked.items():
        if name not in os.environ or _owners.get(name) == plugin:
            os.environ[name] = value
            _owners[name] = plugin
        elif os.environ[name] != value:
            owner = _owners.get(name, "the host")
            warnings.append(f"ENV: {name} has another value in this core host already, from {owner}, and keeps it")
    return warnings
