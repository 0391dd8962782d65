"""Ports from contracts, and nodes that several graphs may share."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from filelock import FileLock
from nipype.interfaces import utility as niu

from pipeline.execution.node import MapNode, Node

__all__ = [
    "MapNode",
    "Node",
    "SharedNode",
    "given",
    "handed",
    "io_node",
    "port_names",
    "same",
    "taken",
]


def port_names(contract: type) -> list[str]:
    """Names of a contract's ports, in the order of its fields."""
    return [field.name for field in fields(contract)]


def io_node(contract: type, name: str) -> Node:
    """Identity node whose ports are the fields of a documented dataclass."""
    return Node(niu.IdentityInterface(fields=port_names(contract)), name=name)


class SharedNode(Node):
    """Node whose directory several runs may reach at the same time.

    Whoever comes first computes; the others wait and find the result in the cache.
    """

    def run(self, updatehash: bool = False) -> Any:
        """Run under a lock beside the node's directory."""
        lock = Path(f"{self.output_dir()}.lock")
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            return super().run(updatehash=updatehash)


def handed(*ports: str) -> list[tuple[str, str]]:
    """Connections from one step's `outputnode` to the ports of the same names of the next."""
    return [(f"outputnode.{port}", f"inputnode.{port}") for port in ports]


def taken(*ports: str) -> list[tuple[str, str]]:
    """Connections from an `inputnode` to the ports of the same names of a step."""
    return [(port, f"inputnode.{port}") for port in ports]


def given(*ports: str) -> list[tuple[str, str]]:
    """Connections from a step's `outputnode` to the inputs of the same names of a node."""
    return [(f"outputnode.{port}", port) for port in ports]


def same(*ports: str) -> list[tuple[str, str]]:
    """Connections between ports of the same names."""
    return [(port, port) for port in ports]
