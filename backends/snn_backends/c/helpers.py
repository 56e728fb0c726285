"""Small functions of the emitted program; it gets those that it calls."""

from __future__ import annotations

_SHIFTED = """\
/* x / 2**places, rounded down: what a right shift of a negative number does is not defined. */
static {type} shifted_{short}({type} x, int32_t places)
{{
    return x < 0 ? -1 - ((-1 - x) >> places) : x >> places;
}}
"""

HELPERS = {
    "shifted_i32": _SHIFTED.format(type="int32_t", short="i32"),
    "shifted_i64": _SHIFTED.format(type="int64_t", short="i64"),
    "toward_zero": """\
/* x / 4096, rounded toward zero. */
static int64_t toward_zero(int64_t x)
{
    return x / 4096;
}
""",
    "wrapped": """\
/* x as an integer of so many bits. */
static int64_t wrapped(int64_t x, int32_t bits)
{
    const uint64_t half = UINT64_C(1) << (bits - 1);
    return (int64_t)(((uint64_t)x + half) & (2 * half - 1)) - (int64_t)half;
}
""",
    "weight_4": """\
/* Weight i of 4 bits. */
static int32_t weight_4(const uint8_t *weights, int32_t i)
{
    return (int32_t)((weights[i >> 1] >> (4 * (i & 1)) & 15) ^ 8) - 8;
}
""",
    "weight_2": """\
/* Weight i of 2 bits. */
static int32_t weight_2(const uint8_t *weights, int32_t i)
{
    return (int32_t)((weights[i >> 2] >> (2 * (i & 3)) & 3) ^ 2) - 2;
}
""",
    "inside": """\
/* How many steps of this size lead from -distance to 0 or beyond. */
static int32_t inside(int32_t distance, int32_t step)
{
    return distance > 0 ? (distance + step - 1) / step : 0;
}
""",
    "least": """\
static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}
""",
}


def helpers_of(code: str) -> str:
    """The functions that a text calls."""
    return "".join(f"{text}\n" for name, text in HELPERS.items() if f"{name}(" in code)
