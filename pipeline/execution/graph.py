"""A workflow as the nodes that run: expanded, each knowing where its inputs come from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import networkx as nx
from nipype import config as nipype_config
from nipype.pipeline.engine.utils import generate_expanded_graph

from pipeline.execution.node import MapNode, Node
from pipeline.execution.progress import row_name, step_name


def executable_graph(workflow: Any) -> Any:
    """Directed graph of the nodes of a workflow, as Nipype's plugins take it.

    Nipype makes the same at the start of every run, from a copy of the workflow and with a copy of
    the whole configuration for every node; here they share one, and the workflow is used up.
    """
    workflow._generate_flatgraph()
    graph = generate_expanded_graph(workflow._graph)
    shared = shared_configuration(workflow)
    for place, node in enumerate(graph.nodes()):
        node.config = shared
        node.base_dir = workflow.base_dir
        node.index = place
        if isinstance(node, Node | MapNode):
            # it knows itself when it has to run; Nipype would run some always
            node.overwrite = False
    workflow._configure_exec_nodes(graph)
    return graph


def shared_configuration(workflow: Any) -> dict[str, dict[str, str]]:
    """Nipype's configuration with that of a workflow."""
    shared = {section: dict(values) for section, values in nipype_config._sections.items()}
    for section, values in workflow.config.items():
        shared.setdefault(section, {}).update(values)
    return shared


def in_order(graph: Any) -> list[Any]:
    """Nodes, each after those it waits for; those of one part together where that can be."""
    by_name = {node: place for place, node in enumerate(graph.nodes())}
    return list(nx.lexicographical_topological_sort(graph, key=lambda node: by_name[node]))


def part_of(node: Any) -> str:
    """The session or anatomy that a node belongs to."""
    return row_name(node.fullname)


def step_of(node: Any) -> str:
    """Its name within its part."""
    return step_name(node.fullname)


def below(graph: Any, nodes: Iterable[Any]) -> set[Any]:
    """Nodes that wait for some, directly or not; without those themselves."""
    chosen = set(nodes)
    found: set[Any] = set()
    for node in chosen:
        found |= nx.descendants(graph, node)
    return found - chosen


def above(graph: Any, nodes: Iterable[Any]) -> set[Any]:
    """Nodes that some wait for, directly or not; without those themselves."""
    return below(graph.reverse(copy=False), nodes)
