"""Cholesky factors and triangular systems, in a fixed order of operations.

Blocks along the diagonal are factored column by column with element-wise operations; each block
costs one reproducible product (``products.matmul``) for the rest. LAPACK is faster, but its last
bits depend on the processor.
"""

from __future__ import annotations

import numpy as np

from snn_compile.numerics import products
from snn_compile.numerics.products import Float

BLOCK = 64
"""Columns that are factored or solved one by one before the others are updated."""


def cholesky(matrix: Float) -> Float:
    """The lower triangular ``L`` with ``L @ L.T == matrix``, up to rounding.

    Args:
        matrix: (N, N), symmetric and positive definite.

    Raises:
        ValueError: it is not positive definite.
    """
    work, n = matrix.copy(), len(matrix)
    lower = np.zeros_like(work)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        panel = np.ascontiguousarray(work[start:, start:stop].T)  # a column is a row: long loops
        for j, column in enumerate(panel):
            if not column[j] > 0:
                raise ValueError("the matrix is not positive definite")
            column[j:] /= np.sqrt(column[j])
            panel[j + 1 :, j + 1 :] -= column[j + 1 : len(panel), None] * column[j + 1 :]
        lower[start:, start:stop] = np.tril(panel.T)
        if stop < n:
            work[stop:, stop:] -= products.outer(lower[stop:, start:stop])
    return lower


def solve_lower(lower: Float, right: Float) -> Float:
    """``X`` with ``lower @ X == right``, up to rounding.

    Args:
        lower: (N, N) lower triangular.
        right: (N, M).
    """
    work = right.copy()
    for start in range(0, len(work), BLOCK):
        _substitute(lower, work, start)
    return work


def inverse_of_lower(lower: Float) -> Float:
    """The inverse of a lower triangular matrix, up to rounding.

    As :func:`solve_lower` computes it for the identity, without the columns that are still 0.
    """
    work = np.eye(len(lower))
    for start in range(0, len(work), BLOCK):
        _substitute(lower, work[:, : start + BLOCK], start)
    return work


def _substitute(lower: Float, work: Float, start: int) -> None:
    """Solve for a block of rows of the right side, and take it out of the rows below."""
    stop = min(start + BLOCK, len(work))
    for i in range(start, stop):
        work[i] /= lower[i, i]
        work[i + 1 : stop] -= lower[i + 1 : stop, i, None] * work[i]
    if stop < len(work):
        work[stop:] -= products.matmul(lower[stop:, start:stop], work[start:stop])


def solve_upper(upper: Float, right: Float) -> Float:
    """``X`` with ``upper @ X == right``, up to rounding, from the last row on."""
    return solve_lower(upper[::-1, ::-1], right[::-1])[::-1]


def solve_factored(lower: Float, right: Float) -> Float:
    """``X`` with ``lower @ lower.T @ X == right``, up to rounding.

    Args:
        lower: (N, N), from :func:`cholesky`.
        right: (N, M).
    """
    return solve_upper(lower.T, solve_lower(lower, right))


def upper_factor_of_inverse(matrix: Float) -> Float:
    """The upper triangular ``U`` with ``U.T @ U == inverse(matrix)``, up to rounding.

    With ``J`` the reversal of rows and columns and ``L L' = J matrix J``, it is ``J L^-1 J``: the
    inverse itself is never formed.

    Args:
        matrix: (N, N), symmetric and positive definite.

    Raises:
        ValueError: it is not positive definite.
    """
    lower = cholesky(np.ascontiguousarray(matrix[::-1, ::-1]))
    return np.ascontiguousarray(inverse_of_lower(lower)[::-1, ::-1])
