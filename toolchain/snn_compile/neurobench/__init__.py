"""A compiled network in NeuroBench's harness (Yik et al., Nature Communications 16, 1545, 2025).

Needs the extra ``neurobench``: torch, and the package of the same name, whose definitions of its
metrics count. The figures of ``report.json`` come from ``snn_compile.report.neurobench``, without
either; ``results`` compares the two.

Modules:
    network: the network as modules of torch, which the harness looks into.
    harness: the network as a model of the harness, and its metrics.
    table: both counts side by side.
"""
