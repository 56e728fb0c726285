"""Floating-point arithmetic that gives the same bits on every machine.

Whatever decides an integer of the compiled network is computed here, or by single operations of
IEEE 754 (``+ - * /``, square roots, comparisons, rounding to integers), which are the same
everywhere. BLAS and LAPACK are not: their kernels add up in another order, and contract products
and sums, on another processor or with another number of threads. Nor are transcendental functions,
whose last bit is a matter of the library and of the vector instructions that numpy finds.
"""
