"""What a Nipype graph would only say at run time, said when it is built."""

from nipype.interfaces.base import isdefined
from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine.utils import generate_expanded_graph


def dangling_ports(workflow):
    """Ports of a workflow that nothing feeds, as text; empty if it can run.

    A mandatory input must be set or connected; so must every port of an identity node, the
    outermost `inputnode` excepted, which the parent will feed. The graph is expanded at the end,
    as Nipype does before it runs.
    """
    graph, problems = workflow._create_flat_graph(), []
    for node in graph.nodes():
        fed = {port for *_, d in graph.in_edges(node, data=True) for _, port in d["connect"]}
        if node.fullname == f"{workflow.name}.inputnode":
            continue
        if isinstance(node.interface, IdentityInterface):
            needed = set(node.inputs.copyable_trait_names())
        else:
            mandatory = node.inputs.traits(mandatory=True).items()
            needed = {name for name, trait in mandatory if not trait.xor}
        problems += [
            f"{node.fullname}.{port}: neither set nor connected"
            for port in sorted(needed - fed)
            if not isdefined(getattr(node.inputs, port))
        ]
    generate_expanded_graph(graph)  # last: it removes identity nodes
    return problems
