// Convolutions of 3 x 3 with 36 products for 16 output pixels instead of 144: Winograd's minimal
// filtering, F(4 x 4, 3 x 3) of Lavin and Gray (2016), in integers.
//
// A strip of rows at a time. What is seen of the map is cut into squares of 6 x 6 pixels, four
// apart, and turned into 36 combinations of them (at most 68 * 255 in magnitude, 16 bits); each is
// multiplied by a matrix of combined weights (at most 49 * 128); and 36 products are combined into
// a square of 4 x 4 sums. The transform of the weights has fractions in it. Ours leaves them out,
// and the sums come out 24 * 24 = 9 * 64 times as large, modulo 2**32. There 9 has an inverse; that
// 64 times a sum fits, `pack_squares` shows. So these sums are those of dense_products.
#pragma once

#include "dense.hpp"

namespace snn {

constexpr int kSquare = 4;                      // output pixels in a row of a square
constexpr int kSeen = kSquare + 2;              // pixels of the map in one
constexpr int kProducts = kSeen * kSeen;        // of a square
constexpr int64_t kLargestSum = (1 << 25) - 1;  // of which 64 times fits 32 bits

// Squares whose products are made before they are added up: these stay in the first-level cache.
constexpr int kTogether = kBytes == 64 ? 8 : 4;

// What has been turned of a strip of rows.
struct Squares {
    int first = -1;           // row of the strip; -1: none
    Array<int16_t> rows;      // [combination of rows][column][map channel]
    Array<int16_t> turned;    // [product][square][map channel]
    Array<int32_t> products;  // [product][square][16 lanes], of those made together

    void spoil() {
        snn::spoil(rows);
        snn::spoil(turned);
        snn::spoil(products);
    }
};

// Registers of 16-bit numbers: no wider than the 16 channels that there are at least.
constexpr int kNarrowBytes = kBytes < 32 ? kBytes : 32;
using Combined = Vector<uint16_t, kNarrowBytes>;

SNN_INLINE Combined load_combined(const int16_t *from) {
    return load<Combined>(from);
}
SNN_INLINE Combined load_combined(const uint8_t *from) {
#if defined(__AVX2__)  // compilers take two halves
    return (Combined)_mm256_cvtepu8_epi16(load<__m128i>(from));
#else
    return __builtin_convertvector(load<Vector<uint8_t, kNarrowBytes / 2> >(from), Combined);
#endif
}

// The six combinations of six neighbours, `apart` from each other.
template <class E, class T>
SNN_INLINE void combine(const E *from, size_t apart, T put) {
    Combined d[kSeen];
#pragma GCC unroll 6
    for (int i = 0; i < kSeen; ++i) d[i] = load_combined(from + i * apart);
    const Combined even = d[4] - (d[2] << 2), odd = d[3] - (d[1] << 2);
    const Combined outer = d[4] - d[2], inner = (d[3] - d[1]) << 1;
    put(0, ((d[0] - d[2]) << 2) + outer);
    put(1, even + odd);
    put(2, even - odd);
    put(3, outer + inner);
    put(4, outer - inner);
    put(5, d[5] - d[3] - (inner << 1));
}

// Cuts a strip of the map, from `from` on, into `down` times `across` squares, and combines each.
inline void turn_squares(const Element *from, int down, int across, size_t channels, size_t map_row,
                         Squares &s) {
    constexpr size_t kStep = kNarrowBytes / 2;
    const size_t line = (size_t(across) * kSquare + 2) * channels;
    const size_t turned = size_t(down) * across * channels;
    grow(s.rows, kSeen * line);
    grow(s.turned, kProducts * turned);
    for (int i = 0; i < down; ++i, from += kSquare * map_row) {
        for (size_t k = 0; k < line; k += kStep) {
            int16_t *to = s.rows.data() + k;
            combine(from + k, map_row, [&](int row, auto v) { store(to + row * line, v); });
        }
        for (int row = 0; row < kSeen; ++row)
            for (int n = 0; n < across; ++n)
                for (size_t c = 0; c < channels; c += kStep) {
                    int16_t *to = s.turned.data() + row * kSeen * turned +
                                  (size_t(i) * across + n) * channels + c;
                    combine(s.rows.data() + row * line + kSquare * n * channels + c, channels,
                            [&](int column, auto v) { store(to + column * turned, v); });
                }
    }
}

using Wide = Vector<uint32_t, kBytes>;

// Four sums, 24 times as large, of six products.
SNN_INLINE void add_up(const Wide (&m)[kSeen], Wide (&to)[kSquare]) {
    const Wide near = m[1] + m[2], near_odd = m[1] - m[2], far = m[3] + m[4], far_odd = m[3] - m[4];
    to[0] = m[0] - (near << 2) + far;
    to[1] = (far_odd - (near_odd << 1)) << 1;
    to[2] = (far - near) << 2;
    to[3] = ((far_odd << 1) - near_odd + m[5]) << 2;
}

// The 36 products of a square, `apart` from each other, to its 4 x 4 sums: (row, column).
SNN_INLINE void add_up_square(const int32_t *products, size_t apart, int32_t *to, size_t row,
                              size_t column) {
    constexpr uint32_t kNinth = 0x38e38e39;  // 9 * kNinth = 1 modulo 2**32
    Wide columns[kSquare][kSeen];
#pragma GCC unroll 6
    for (int i = 0; i < kSeen; ++i) {
        Wide m[kSeen], sums[kSquare];
#pragma GCC unroll 6
        for (int j = 0; j < kSeen; ++j) m[j] = load<Wide>(products + (j * kSeen + i) * apart);
        add_up(m, sums);
#pragma GCC unroll 4
        for (int j = 0; j < kSquare; ++j) columns[j][i] = sums[j];
    }
#pragma GCC unroll 4
    for (int j = 0; j < kSquare; ++j, to += row) {
        Wide sums[kSquare];
        add_up(columns[j], sums);
#pragma GCC unroll 4
        for (int i = 0; i < kSquare; ++i)
            store(to + i * column, (Vector<int32_t, kBytes>)(sums[i] * kNinth) >> 6);
    }
}

// The same of 16 lanes, for a map of which it covers `height` rows and `width` columns.
SNN_INLINE void add_up_lanes(const int32_t *products, size_t apart, int height, int width,
                             int32_t *to, size_t row, size_t column) {
    const bool whole = height >= kSquare && width >= kSquare;
    int32_t sums[kSquare * kSquare * kLanes];
    for (int c = 0; c < kLanes; c += kBytes / 4)
        add_up_square(products + c, apart, (whole ? to : sums) + c, whole ? row : kSquare * kLanes,
                      whole ? column : size_t(kLanes));
    if (whole) return;
    for (int y = 0; y < std::min(height, kSquare); ++y)
        for (int x = 0; x < std::min(width, kSquare); ++x)
            std::copy_n(sums + (y * kSquare + x) * kLanes, kLanes, to + y * row + x * column);
}

// The sums of `rows` rows from y on with 16 lanes of the target from c0 on: (rows, columns,
// to_row).
inline void square_products(const Group &g, const Maps &map, int y, int rows, int c0, int32_t *to,
                            size_t to_row, Squares &s) {
    const size_t channels = size_t(g.map_channels), map_row = size_t(g.map_width()) * channels;
    const int width = g.out.width, across = (width + kSquare - 1) / kSquare;
    const int down = (rows + kSquare - 1) / kSquare, n = across * down;
    if (s.first != y) {
        turn_squares(map.data.data() + y * map_row, down, across, channels, map_row, s);
        s.first = y;
    }
    const size_t of_product = kTogether * kLanes;
    grow(s.products, kProducts * of_product);
    const int16_t *weights = g.squares.data() + c0 / kLanes * kProducts * channels * kLanes;
    for (int first = 0; first < n; first += kTogether) {
        const int squares = std::min(kTogether, n - first);
        for (int k = 0; k < kProducts; ++k)
            tiles<1>(s.turned.data() + (k * n + first) * channels, channels, squares, g.whole,
                     weights + k * channels * kLanes, kLanes * 2,
                     s.products.data() + k * of_product, kLanes);
        for (int i = 0; i < squares; ++i) {
            const int top = (first + i) / across * kSquare, left = (first + i) % across * kSquare;
            add_up_lanes(s.products.data() + i * kLanes, of_product, rows - top, width - left,
                         to + (size_t(top) * width + left) * to_row, width * to_row, to_row);
        }
    }
}

}  // namespace snn
