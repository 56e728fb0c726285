"""Shapes and storage: from the arrays in weights.npz to what Lava's stock processes take.

Every population is flat, in the order channel, row, column. scipy is used because lava's own Sparse
process takes its matrices; it is a dependency of lava-nc.
"""

from math import prod

import numpy as np
from lava.proc.conv.process import Conv
from scipy.sparse import csr_matrix


TABLES = ("breakpoints", "multiplier", "offset", "shift")
"""Parameters of which each channel may have a row."""


def per_neuron(values, shape, table=False):
    """A parameter per channel, or of a shape that broadcasts, for every neuron of a population.

    A table has a row for each channel.
    """
    values = np.asarray(values, np.int64)
    if table and values.ndim == 2:
        return np.repeat(values, prod(shape[1:]), axis=0)
    if values.ndim == 1 and len(shape) > 1:
        values = values.reshape(-1, *[1] * (len(shape) - 1))
    return np.ascontiguousarray(np.broadcast_to(values, shape)).reshape(-1)


def dense_matrix(weight, grid_shift):
    """Weights of a Dense process: b-bit mantissas moved to the top of Lava's 9-bit MIXED grid."""
    return weight.astype(np.int32) << grid_shift


def sparse_matrix(indptr, indices, weight, n_sources, grid_shift):
    """Weights of a Sparse process from compressed rows."""
    data = weight.astype(np.int32) << grid_shift
    shape = (len(indptr) - 1, n_sources)
    return csr_matrix((data, indices.astype(np.int32), indptr.astype(np.int32)), shape=shape)


def unrolled_conv(kernel, source, target, stride, padding, dilation, groups, grid_shift):
    """A shared kernel (O, I / groups, kh, kw) as a matrix over flattened maps, for Sparse.

    ``padding`` is top, left, bottom, right; the bottom and the right follow from ``target``.
    """
    (_, height, width), (n_out, out_height, out_width) = source, target
    _, n_in, kernel_height, kernel_width = kernel.shape
    y = np.arange(out_height)[:, None] * stride[0] - padding[0]
    x = np.arange(out_width)[:, None] * stride[1] - padding[1]
    y = y + np.arange(kernel_height) * dilation[0]  # (out_height, kernel_height): row of each tap
    x = x + np.arange(kernel_width) * dilation[1]
    inside_y, inside_x = (y >= 0) & (y < height), (x >= 0) & (x < width)
    # Axes: out_height, out_width, n_in, kernel_height, kernel_width
    inside = inside_y[:, None, None, :, None] & inside_x[None, :, None, None, :]
    inside = np.broadcast_to(inside, (out_height, out_width, *kernel.shape[1:]))
    place = np.arange(n_in)[:, None, None] * (height * width) + (
        y[:, None, None, :, None] * width + x[None, :, None, None, :]
    )
    tap = np.broadcast_to(np.arange(kernel[0].size).reshape(kernel.shape[1:]), inside.shape)
    place, tap = place[inside].astype(np.int32), tap[inside]
    lengths = np.tile(inside.reshape(out_height * out_width, -1).sum(axis=1), n_out)
    per_group = n_out // groups
    values = (kernel.astype(np.int32) << grid_shift).reshape(n_out, -1)
    data = np.concatenate([row[tap] for row in values]) if len(tap) else np.zeros(0, np.int32)
    indices = np.concatenate(
        [place + (o // per_group) * (n_in * height * width) for o in range(n_out)]
    ).astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    shape = (n_out * out_height * out_width, n_in * groups * height * width)
    matrix = csr_matrix((data, indices, indptr), shape=shape)
    matrix.eliminate_zeros()
    return matrix


def conv_kernel(kernel, exponent):
    """Weights of a stock Conv: flipped, because Lava convolves, and in the order O, width, height, I.

    Lava's Conv ignores its weight exponent, so that the weights carry it.
    """
    kernel = kernel[:, :, ::-1, ::-1].transpose(0, 3, 2, 1).astype(np.int64) << exponent
    return np.ascontiguousarray(kernel)


def connect(sender, source_shape, synapses, target=None):
    """Connect a population's out-port to synapses and those to the in-port of another one."""
    if isinstance(synapses, Conv):  # its maps are (width, height, channel)
        sender.reshape(source_shape).transpose((2, 1, 0)).connect(synapses.s_in)
        out = synapses.a_out.transpose((2, 1, 0)).flatten()
    else:
        sender.connect(synapses.s_in)
        out = synapses.a_out
    if target is not None:
        out.connect(target)
    return out
