// Convolutions of 3 x 3 with 16 products for four output pixels instead of 36: Winograd's minimal
// filtering, F(2 x 2, 3 x 3) of Lavin and Gray (2016), in integers.
//
// A pair of rows at a time. What is seen of the map is cut into squares of 4 x 4 pixels, two apart,
// and turned into 16 combinations of them (at most 4 * 255 in magnitude, 16 bits); each is
// multiplied by a matrix of combined weights (at most 9 * 128); and 16 products are combined into a
// square of 2 x 2 sums. The transform of the weights has halves in it, so ours is twice that in
// both directions, and the sums come out four times as large: `pack_squares` shows that they fit
// 32 bits. All of it is exact modulo 2**32, so that these sums are those of dense_products.
//
// Where an instruction multiplies bytes and adds four of them, those products are faster.
#pragma once

#include "dense.hpp"

namespace snn {

constexpr int kSquare = 16;  // products of a square

// What has been computed of a pair of rows.
struct Squares {
    int pair = -1;                // of which rows; -1: none
    std::vector<bool> blocks;     // of these, which blocks of 16 lanes of the target
    Array<int16_t> rows;          // [combination of rows][column][map channel]
    Array<int16_t> turned;        // [product][square][map channel]
    Array<int32_t> products;      // [product][square][16 lanes]
    Array<int32_t> sums;          // [block of 16 lanes][row][column][16 lanes]

    void spoil() {
        snn::spoil(rows);
        snn::spoil(turned);
        snn::spoil(products);
        snn::spoil(sums);
    }
};

// The four combinations of four neighbours, `apart` from each other.
template <class T>
SNN_INLINE void combine(const int16_t *from, size_t apart, T put) {
    using V = Vector<int16_t, kBytes>;
    const V a = load<V>(from), b = load<V>(from + apart), c = load<V>(from + 2 * apart),
            d = load<V>(from + 3 * apart);
    put(0, a - c);
    put(1, b + c);
    put(2, c - b);
    put(3, b - d);
}

// Cuts the four rows of the map from `from` on into squares, and combines each of them.
inline void turn_squares(const int16_t *from, int n_squares, size_t channels, Squares &s) {
    constexpr size_t kStep = kBytes / 2;
    const size_t line = (2 * size_t(n_squares) + 2) * channels, turned = n_squares * channels;
    grow(s.rows, 4 * line);
    grow(s.turned, kSquare * turned);
    for (size_t k = 0; k < line; k += kStep) {
        int16_t *to = s.rows.data() + k;
        combine(from + k, line, [&](int i, auto v) { store(to + i * line, v); });
    }
    for (int row = 0; row < 4; ++row)
        for (int n = 0; n < n_squares; ++n)
            for (size_t c = 0; c < channels; c += kStep) {
                int16_t *to = s.turned.data() + row * 4 * turned + n * channels + c;
                combine(s.rows.data() + row * line + 2 * n * channels + c, channels,
                        [&](int i, auto v) { store(to + i * turned, v); });
            }
}

// 16 products of a square, `apart` from each other, to its 2 x 2 sums.
template <class T>
SNN_INLINE void add_up(const int32_t *products, size_t apart, T put) {
    using V = Vector<uint32_t, kBytes>;
    V left[4], right[4];
    for (int i = 0; i < 4; ++i, products += 4 * apart) {
        const V a = load<V>(products), b = load<V>(products + apart),
                c = load<V>(products + 2 * apart), d = load<V>(products + 3 * apart);
        left[i] = a + b + c;
        right[i] = b - c - d;
    }
    const auto quarter = [](V v) { return (Vector<int32_t, kBytes>)v >> 2; };
    put(0, 0, quarter(left[0] + left[1] + left[2]));
    put(0, 1, quarter(right[0] + right[1] + right[2]));
    put(1, 0, quarter(left[1] - left[2] - left[3]));
    put(1, 1, quarter(right[1] - right[2] - right[3]));
}

#if !defined(__AVX512VNNI__)
// The sums of row y with 16 lanes of the target from c0 on: (columns, to_row).
inline void square_products(const Group &g, const Maps &map, int y, int c0, int32_t *to,
                            size_t to_row, Squares &s) {
    const size_t channels = size_t(g.map_channels);
    const int width = g.out.width, n = width / 2, block = c0 / kLanes;
    const size_t of_row = size_t(width) * kLanes, of_product = size_t(n) * kLanes;
    if (s.pair != y / 2) {
        turn_squares(map.data.data() + 2 * (y / 2) * size_t(g.map_width()) * channels, n, channels,
                     s);
        s.blocks.assign(g.out.padded / kLanes, false);
        s.sums.resize(s.blocks.size() * 2 * of_row);
        s.products.resize(kSquare * of_product);
        s.pair = y / 2;
    }
    int32_t *sums = s.sums.data() + block * 2 * of_row;
    if (!s.blocks[block]) {
        const int16_t *weights = g.squares.data() + block * kSquare * channels * kLanes;
        for (int k = 0; k < kSquare; ++k, weights += channels * kLanes)
            tiles<1>(s.turned.data() + k * n * channels, channels, n, g.whole, weights,
                     kLanes * kGroup, s.products.data() + k * of_product, kLanes);
        for (int i = 0; i < n; ++i)
            for (int c = 0; c < kLanes; c += kBytes / 4) {
                int32_t *square = sums + 2 * i * kLanes + c;
                add_up(s.products.data() + i * kLanes + c, of_product,
                       [&](int row, int column, auto v) {
                           store(square + row * of_row + column * kLanes, v);
                       });
            }
        s.blocks[block] = true;
    }
    for (int x = 0; x < width; ++x)
        Lanes<int32_t>::at(sums + y % 2 * of_row + x * kLanes).to(to + x * to_row);
}
#else
inline void square_products(const Group &, const Maps &, int, int, int32_t *, size_t, Squares &) {}
#endif

}  // namespace snn
