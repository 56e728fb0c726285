// Dense products of bytes: payloads, and spikes where most neurons fire.
//
// The messages are laid out as a padded map (`Maps`) in which every product of the kernel with an
// output pixel is a handful of contiguous runs. A tile of rows (neighbouring pixels, or the steps
// of one pixel) times 16, 32 or 64 output channels stays in registers. Messages are unsigned bytes
// with a zero point: sum w * (q - zero) = sum w * q - zero * sum w. Wider messages are several
// planes of bytes; sums modulo 2**32 are exact where the true one fits.
#pragma once

#include "messages.hpp"

namespace snn {

// One plane of messages: [step][row][column][map channel], in border and padding the zero point.
struct Maps {
    Array<Element> data;
    size_t step = 0;  // elements
};

// Pixels of a row, from bytes or bits to elements with `channels` of them to a pixel.
inline void spread_bytes(const Shape &s, const uint8_t *from, int pixels, int channels,
                         Element *to) {
    if (channels == s.padded) {
        for (int i = 0, n = pixels * channels; i < n; ++i) to[i] = Element(from[i]);
        return;
    }
    for (; pixels; --pixels, from += s.padded, to += channels)
        for (int c = 0; c < s.channels; ++c) to[c] = Element(from[c]);
}
inline void spread_bits(const Shape &s, const uint16_t *from, int pixels, int channels,
                        Element *to) {
    if (channels == s.padded) {
        int i = 0;
        const int n = pixels * channels / 16;
#if defined(__AVX512VNNI__)
        for (; i + 4 <= n; i += 4, to += 64)
            store(to, _mm512_maskz_set1_epi8(load<uint64_t>(from + i), 1));
#endif
        for (; i < n; ++i, to += 16)
            for (int j = 0; j < 16; ++j) to[j] = Element(from[i] >> j & 1);
        return;
    }
    for (; pixels; --pixels, from += s.padded / 16, to += channels)
        for (int c = 0; c < s.channels; ++c) to[c] = Element(from[c / 16] >> (c % 16) & 1);
}
// Spikes of both signs, with a zero point of 1.
inline void spread_signs(const Shape &s, const uint16_t *positive, const uint16_t *negative,
                         int pixels, int channels, Element *to) {
    for (; pixels; --pixels, to += channels) {
        for (int c = 0; c < std::min(channels, s.padded); ++c) {
            const int up = positive[c / 16] >> (c % 16) & 1,
                      down = negative[c / 16] >> (c % 16) & 1;
            to[c] = Element(1 + up - down);
        }
        positive += s.padded / 16;
        negative += s.padded / 16;
    }
}

inline void lay_out(const Group &g, const Population &source, const Messages &m, int plane,
                    int steps, Maps &maps) {
    const Shape &s = source.shape;
    // A flat group reads the whole map of its source as one pixel.
    const int height = g.flat ? s.height : g.map_height(), width = g.flat ? s.width : g.map_width();
    const int channels = g.flat ? s.padded : g.map_channels;
    const int top = g.flat ? 0 : g.given.top, left = g.flat ? 0 : g.given.left;
    maps.step = size_t(height) * width * channels;
    const size_t size = steps * maps.step + 64;
    grow(maps.data, size);
    const Element border = Element((uint64_t(m.zero) >> (8 * plane)) & 255);
    const int y0 = std::max(0, -top), y1 = std::min(s.height, height - top);
    const int x0 = std::max(0, -left), x1 = std::min(s.width, width - left);
    Element *const data = maps.data.data(), *const end = data + size;
    // What surrounds the map, or all where channels inside it are padding.
    const bool all = x0 >= x1 || (channels != s.channels && channels != s.padded);
    if (all) std::fill(data, end, border);
    if (x0 >= x1) return;
    const size_t line = size_t(width) * channels;
    Element *done = data;
    for (int t = 0; t < steps; ++t)
        for (int y = y0; y < y1; ++y) {
            Element *to = data + t * maps.step + (y + top) * line + size_t(x0 + left) * channels;
            if (!all) std::fill(done, to, border);
            done = to + size_t(x1 - x0) * channels;
            if (source.signs == 2)
                spread_signs(s, spikes_at(m.map(s, t), s, y, x0, 0),
                             spikes_at(m.map(s, t, 1), s, y, x0, 0), x1 - x0, channels, to);
            else if (source.spikes())
                spread_bits(s, spikes_at(m.map(s, t), s, y, x0, 0), x1 - x0, channels, to);
            else
                spread_bytes(s, m.plane(s, plane, t) + (size_t(y) * s.width + x0) * s.padded,
                             x1 - x0, channels, to);
        }
    if (!all) std::fill(done, end, border);
}

// Weights that are multiplied with elements, and how many of them one instruction adds up.
template <class E>
struct WeightOf {
    using type = int16_t;
};
template <>
struct WeightOf<uint8_t> {
    using type = int8_t;
};
template <class E>
using WeightFor = typename WeightOf<E>::type;
template <class E>
constexpr int kAdded = 4 / int(sizeof(E));

#if defined(__AVX512VNNI__)
using Weight = int8_t;
constexpr int kTileVectors = 24;  // registers for sums
SNN_INLINE Lanes<int32_t> multiply_add(Lanes<int32_t> sums, const int16_t *a, const int16_t *b) {
    int32_t two;
    std::memcpy(&two, a, 4);
    using R = Lanes<int32_t>::Register;
    return {{(R)_mm512_dpwssd_epi32((__m512i)sums.r[0], _mm512_set1_epi32(two), load<__m512i>(b))}};
}
SNN_INLINE Lanes<int32_t> multiply_add(Lanes<int32_t> sums, const Element *a, const Weight *b) {
    int32_t four;
    std::memcpy(&four, a, 4);
    using R = Lanes<int32_t>::Register;
    return {
        {(R)_mm512_dpbusd_epi32((__m512i)sums.r[0], _mm512_set1_epi32(four), load<__m512i>(b))}};
}
#else
using Weight = int16_t;
#if defined(__AVX2__) || defined(__SSE2__)
constexpr int kTileVectors = kBytes == 32 ? 12 : 8;
#else
constexpr int kTileVectors = 16;
#endif
SNN_INLINE Lanes<int32_t> multiply_add(Lanes<int32_t> sums, const Element *a, const Weight *b) {
    int32_t two;
    std::memcpy(&two, a, 4);
    using R = Lanes<int32_t>::Register;
    constexpr int n = Lanes<int32_t>::kCount, per = Lanes<int32_t>::kPer;
    for (int i = 0; i < n; ++i) {
        const R w = load<R>(b + i * per * 2);
#if defined(__AVX2__)
        sums.r[i] += (R)_mm256_madd_epi16(_mm256_set1_epi32(two), (__m256i)w);
#elif defined(__SSE2__)
        sums.r[i] += (R)_mm_madd_epi16(_mm_set1_epi32(two), (__m128i)w);
#else
        const R even = (w << 16) >> 16, odd = w >> 16;
        sums.r[i] += even * int32_t(int16_t(two)) + odd * (two >> 16);
#endif
    }
    return sums;
}
#endif

// Rows x (N * 16) products; `from` to `row` elements apart.
template <int Rows, int N, class E>
SNN_INLINE void tile(const E *from, size_t row, const std::vector<Run> &runs,
                     const WeightFor<E> *weights, size_t weight_step, int32_t *to, size_t to_row) {
    Lanes<int32_t> sums[Rows][N];
    for (auto &r : sums)
        for (auto &s : r) s = Lanes<int32_t>::all(0);
    for (const Run &run : runs) {
        const E *a = from + run.offset;
        for (int32_t k = 0; k < run.groups; ++k, a += kAdded<E>, weights += weight_step) {
#pragma GCC unroll 8
            for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
                for (int j = 0; j < N; ++j)
                    sums[i][j] =
                        multiply_add(sums[i][j], a + i * row, weights + j * kLanes * kAdded<E>);
        }
    }
    for (int i = 0; i < Rows; ++i)
        for (int j = 0; j < N; ++j) sums[i][j].to(to + i * to_row + j * kLanes);
}

template <int N, class E>
void tiles(const E *from, size_t row, int rows, const std::vector<Run> &runs,
           const WeightFor<E> *weights, size_t weight_step, int32_t *to, size_t to_row) {
    constexpr int most = std::min(8, kTileVectors / (N * Lanes<int32_t>::kCount));
    const int n_tiles = (rows + most - 1) / most;
    for (int i = 0; i < n_tiles; ++i) {
        const int r = rows / n_tiles + (i < rows % n_tiles);  // as equal as possible
        switch (r) {
#define SNN_TILE(n)                                                                             \
    case n:                                                                                     \
        if constexpr (n <= most) tile<n, N>(from, row, runs, weights, weight_step, to, to_row); \
        break;
            SNN_TILE(1)
            SNN_TILE(2) SNN_TILE(3) SNN_TILE(4) SNN_TILE(5) SNN_TILE(6) SNN_TILE(7) SNN_TILE(8)
#undef SNN_TILE
        }
        from += r * row;
        to += r * to_row;
    }
}

// The products of `rows` rows with `lanes` channels of the target from c0 on: (rows, to_row).
inline void dense_products(const Group &g, const Element *from, size_t row, int rows, int c0,
                           int lanes, int32_t *to, size_t to_row) {
    const int width = std::min(lanes, 64);
    for (int c = 0; c < lanes; c += width) {
        const int part = (c0 + c) / width;
        const std::vector<Run> &runs = g.runs[part];
#if defined(__AVX512VNNI__)
        const Weight *weights = g.dense8.data() + g.dense_at[part];
        const size_t step = width * kGroup;
        switch (width) {
            case 16:
                tiles<1>(from, row, rows, runs, weights, step, to + c, to_row);
                break;
            case 32:
                tiles<2>(from, row, rows, runs, weights, step, to + c, to_row);
                break;
            default:
                tiles<4>(from, row, rows, runs, weights, step, to + c, to_row);
        }
#else
        const Weight *weights = g.dense16.data() + g.dense_at[part];
        // 16 channels at a time: more would not leave registers for several rows.
        for (int j = 0; j < width; j += 16)
            tiles<1>(from, row, rows, runs, weights + j * kGroup, width * kGroup, to + c + j,
                     to_row);
#endif
    }
}

// Depthwise products: the same, with one input channel per output channel.
inline void depthwise_products(const Group &g, const Element *from, size_t row, int rows, int c0,
                               int lanes, int32_t *to, size_t to_row) {
    const size_t map_row = size_t(g.map_width()) * g.map_channels;
    const size_t down = g.given.dilation[0] * map_row,
                 right = size_t(g.given.dilation[1]) * g.map_channels;
    const bool one = g.kh() * g.kw() == 1;
    for (int c = c0; c < c0 + lanes; c += kLanes, to += kLanes) {
        const Element *q = from + c;
        const Lanes<int32_t> first = Lanes<int32_t>::from(g.taps.data() + c);
        for (int r = 0; r < rows; ++r, q += row) {
            Lanes<int32_t> sums = Lanes<int32_t>::from(q) * first;
            const int16_t *w = g.taps.data() + c;
            for (int a = 0; !one && a < g.kh(); ++a)
                for (int b = 0; b < g.kw(); ++b, w += g.out.padded)
                    if (a + b)
                        sums = sums + Lanes<int32_t>::from(q + a * down + b * right) *
                                          Lanes<int32_t>::from(w);
            sums.to(to + r * to_row);
        }
    }
}

// A shift of sums: to the left, or to the right (floor).
struct Shift {
    int left, right;

    explicit Shift(int exponent) : left(std::max(exponent, 0)), right(std::max(-exponent, 0)) {}
    SNN_INLINE Lanes<int32_t> operator()(const Lanes<int32_t> &sum) const {
        return (sum << left) >> right;
    }
};

// Shifts sums by `before`, and adds the products of one-to-one synapses, shifted: (rows, lanes).
inline void add_one_to_one(const Group &g, const Element *from, size_t row, int rows, int c0,
                           int lanes, Shift before, int32_t *to) {
    const Shift shift(g.given.exponent);
    for (int c = 0; c < lanes; c += kLanes) {
        const Element *q = from + c0 + c;
        int32_t *sum = to + c;
        const Lanes<int32_t> w = Lanes<int32_t>::from(g.taps.data() + c0 + c);
        for (int r = 0; r < rows; ++r, q += row, sum += lanes) {
            const Lanes<int32_t> product = Lanes<int32_t>::from(q) * w;
            (before(Lanes<int32_t>::at(sum)) + shift(product)).to(sum);
        }
    }
}

}  // namespace snn
