// Sums that are not computed pixel by pixel: sparse matrices, and everything in 64 bits.
#pragma once

#include "messages.hpp"

namespace snn {

SNN_INLINE int64_t shifted(int64_t sum, int exponent) {
    return exponent >= 0 ? sum * (int64_t(1) << exponent) : sum >> -exponent;
}

// Calls f with the lane of the map and the value of each message of a step that is not 0.
template <class F>
SNN_INLINE void each_message(const Population &source, const Messages &m, int t, F f) {
    const Shape &s = source.shape;
    const size_t row = size_t(s.width) * s.padded;
    if (source.spikes()) {
        for (int sign = 0; sign < m.signs; ++sign) {
            const uint64_t *words = m.map(s, t, sign);
            for (int y = 0; y < s.height; ++y)
                for (size_t i = 0; i < s.row_words(); ++i)
                    for (uint64_t word = *words++, at = y * row + i * 64; word; word &= word - 1)
                        f(at + __builtin_ctzll(word), sign ? -1 : 1);
        }
        return;
    }
    for (int y = 0; y < s.height; ++y)
        for (int x = 0; x < s.width; ++x)
            for (int c = 0; c < s.channels; ++c)
                if (const int64_t value = m.value(s, t, y, x, c))
                    f(y * row + size_t(x) * s.padded + c, value);
}

// Sums of the groups that cannot be computed pixel by pixel, into (steps, lanes) of the whole map.
inline void scatter(const Group &g, const Population &source, const Messages &m, int steps,
                    int32_t *to) {
    const size_t lanes = g.out.lanes();
    std::vector<int32_t> sums(g.given.exponent ? lanes : 0);
    for (int t = 0; t < steps; ++t, to += lanes) {
        int32_t *into = g.given.exponent ? sums.data() : to;
        const int from_step = source.given.held ? 0 : t;
        std::fill(sums.begin(), sums.end(), 0);
        each_message(source, m, source.given.held ? 0 : t, [&](size_t lane, int64_t value) {
            for (int64_t k = g.column[lane]; k < g.column[lane + 1]; ++k)
                into[g.target[k]] += int32_t(g.weight[k] * value);
        });
        for (size_t i = 0; i < sums.size(); ++i)
            to[i] += int32_t(shifted(sums[i], g.given.exponent));
    }
}

// Everything in 64 bits, synapse by synapse: for sums that are not proven to fit.
inline void sum_scalar(const Group &g, const Population &source, const Messages &m, int steps,
                       int64_t *to) {
    const Shape &s = source.shape;
    const auto message = [&](int t, int y, int x, int c) -> int64_t {
        const int step = source.given.held ? 0 : t;
        return source.spikes() ? m.spike(s, step, y, x, c) : m.value(s, step, y, x, c);
    };
    const int per_group = s.channels / g.given.groups,
              out_per_group = g.out.channels / g.given.groups;
    for (int t = 0; t < steps; ++t)
        for (int o = 0; o < g.out.channels; ++o)
            for (int y = 0; y < g.out.height; ++y)
                for (int x = 0; x < g.out.width; ++x) {
                    int64_t sum = 0;
                    if (!g.indptr.empty()) {
                        const size_t row = (size_t(o) * g.out.height + y) * g.out.width + x;
                        for (int64_t k = g.indptr[row]; k < g.indptr[row + 1]; ++k) {
                            const int64_t j = g.indices[k], pixel = j % int64_t(s.pixels());
                            sum +=
                                g.weight[k] * message(t, int(pixel / s.width), int(pixel % s.width),
                                                      int(j / int64_t(s.pixels())));
                        }
                    } else {
                        const int8_t *w = g.weight.data() + size_t(o) * per_group * g.kh() * g.kw();
                        for (int i = 0; i < per_group; ++i)
                            for (int a = 0; a < g.kh(); ++a)
                                for (int b = 0; b < g.kw(); ++b, ++w) {
                                    const int yy = y * g.given.stride[0] - g.given.top +
                                                   a * g.given.dilation[0];
                                    const int xx = x * g.given.stride[1] - g.given.left +
                                                   b * g.given.dilation[1];
                                    if (yy < 0 || yy >= s.height || xx < 0 || xx >= s.width)
                                        continue;
                                    sum +=
                                        *w * message(t, yy, xx, o / out_per_group * per_group + i);
                                }
                    }
                    to[t * g.out.lanes() + (size_t(y) * g.out.width + x) * g.out.padded + o] +=
                        shifted(sum, g.given.exponent);
                }
}

}  // namespace snn
