"""Floating-point arithmetic with the same bits on every machine.

A value that decides an integer of the compiled network is computed here, or by single operations of
IEEE 754 (``+ - * /``, square roots, comparisons, rounding to integers), which are the same
everywhere. BLAS and LAPACK are not: the order of sums in their kernels, and the contraction of
products and sums, depend on the processor and on the number of threads. Nor are transcendental
functions, whose last bit depends on the library and on the available vector instructions.
"""
