// Event-driven sums: rows of weights, gathered by the spikes that an output pixel sees.
//
// A row of weights holds bytes, `weight + 128`. Added as 16-bit numbers they give, in one register,
// the sums of the even bytes plus 256 times those of the odd ones, and shifted right by 8 the sums
// of the odd ones; two registers of 16-bit sums come out of one load. Sums modulo 2**16 are exact
// where the true sum fits 16 bits.
#pragma once

#include "events.hpp"

namespace snn {

constexpr int kLargestTile = 16;  // pixels that are gathered together

// 16-bit sums of rows of bytes: N registers of them at a time.
template <int Bytes, int N>
struct Sums {
    using V = Vector<uint16_t, Bytes>;
    V low[N], high[N];

    SNN_INLINE void add(const uint8_t *row) {
#pragma GCC unroll 8
        for (int i = 0; i < N; ++i) {
            const V q = load<V>(row + i * Bytes);
            low[i] += q;
            high[i] += q >> 8;
        }
    }
    SNN_INLINE void gather(const uint8_t *rows, const uint32_t *offset, uint32_t n) {
        for (int i = 0; i < N; ++i) low[i] = high[i] = V{};
        const uint32_t *const end = offset + n / 4 * 4;
        for (; offset < end; offset += 4)
            for (int i = 0; i < 4; ++i) add(rows + offset[i]);
        if (n & 2) {
            add(rows + offset[0]);
            add(rows + offset[1]);
            offset += 2;
        }
        if (n & 1) add(rows + offset[0]);
        const V bias = V{} + uint16_t(128 * n);
        for (int i = 0; i < N; ++i) {
            low[i] -= (high[i] << 8) + bias;
            high[i] -= bias;
        }
    }
    SNN_INLINE void write(int16_t *to) const {
        for (int i = 0; i < N; ++i) {
            store(to + i * Bytes, low[i]);
            store(to + i * Bytes + Bytes / 2, high[i]);
        }
    }
};

// One sum to gather: how many rows, from where in the offsets, and which pixel
// and step it is for.
struct Item {
    uint32_t n, first, pixel, step;
};

struct Items {
    std::vector<Item> ordered;  // of a row of output pixels
    std::vector<Item> found;    // of a tile
};

// Calls f(pixel, step, first, n) for all sums of the tile from x0 on.
template <class F>
SNN_INLINE void each_sum(const Group &g, const Merged &merged, int x0, int pixels, int steps, F f) {
    for (int p = 0; p < pixels; ++p) {
        const int from = g.x.begin[x0 + p], to = g.x.end[x0 + p];
        if (from == to) {  // nothing but padding
            for (int t = 0; t < steps; ++t) f(p, t, 0, 0);
        } else {
            const uint32_t *begin = merged.begin + from * merged.column;
            const uint32_t *end = merged.end + to * merged.column;
            for (int t = 0; t < steps; ++t, begin += merged.step, end += merged.step)
                f(p, t, *begin, *end - *begin);
        }
    }
}

// The sums of one row of output pixels, for every tile of `tile` pixels in order of their numbers
// of rows. Where loops end is then mispredicted once per number, not at every sum.
inline void order_items(const Group &g, const Merged &merged, int columns, int tile, int steps,
                        Items &items) {
    constexpr uint32_t most = 255;  // longer sums pay for themselves
    grow(items.ordered, size_t(columns) * steps);
    grow(items.found, size_t(tile) * steps);
    Item *into = items.ordered.data();
    for (int x0 = 0; x0 < columns; x0 += tile) {
        const int pixels = std::min(tile, columns - x0);
        uint32_t at[most + 2] = {}, largest = 0;
        Item *found = items.found.data();
        each_sum(g, merged, x0, pixels, steps, [&](int p, int t, uint32_t first, uint32_t n) {
            *found++ = {n, first, uint32_t(p), uint32_t(t)};
            n = std::min(n, most);
            ++at[n + 1];
            largest = std::max(largest, n);
        });
        for (uint32_t n = 1; n <= largest; ++n) at[n] += at[n - 1];
        for (const Item *item = items.found.data(); item < found; ++item)
            into[at[std::min(item->n, most)]++] = *item;
        into += size_t(pixels) * steps;
    }
}

// The sums of a tile of output pixels from (y, x0) on, at all steps: (pixels, steps, block).
template <int Bytes, int N, class A>
void gather_tile(const Group &g, const Merged &merged, const Item *items, int block, int y, int x0,
                 int pixels, int steps, A *to) {
    constexpr int kBlock = Bytes * N;
    const uint8_t *rows[kLargestTile];  // of the weights, as the first tap of each pixel meets them
    for (int p = 0; p < pixels; ++p) {
        const int64_t met = int64_t(g.y.first[y]) * g.taps_x + g.x.first[x0 + p];
        rows[p] =
            g.rows.data() + (int64_t(block) * int64_t(g.n_rows) - met * g.pixel_rows()) * kBlock;
    }
    const uint32_t *const offsets = merged.offsets;
    for (const Item *item = items, *end = items + pixels * steps; item < end; ++item) {
        A *const sum = to + (item->pixel * steps + item->step) * kBlock;
        const uint8_t *const weights = rows[item->pixel];
        Sums<Bytes, N> sums;
        if constexpr (sizeof(A) == 2) {
            sums.gather(weights, offsets + item->first, item->n);
            sums.write(sum);
        } else {
            // 256 rows of bytes always fit 16 bits.
            std::fill(sum, sum + kBlock, 0);
            for (uint32_t e = 0; e < item->n; e += 256) {
                int16_t part[kBlock];
                sums.gather(weights, offsets + item->first + e, std::min(256u, item->n - e));
                sums.write(part);
                for (int i = 0; i < kBlock; ++i) sum[i] += part[i];
            }
        }
    }
}

// Blocks are read in as large registers as they fill.
template <int Block, class A>
void gather_block(const Group &g, const Merged &merged, const Item *items, int block, int y, int x0,
                  int pixels, int steps, A *to) {
    if constexpr (Block <= kBytes * 4) {
        constexpr int bytes = std::min(kBytes, Block);
        gather_tile<bytes, Block / bytes>(g, merged, items, block, y, x0, pixels, steps, to);
    }
}

template <class A>
void gather(const Group &g, const Merged &merged, const Item *items, int block, int y, int x0,
            int pixels, int steps, A *to) {
    switch (g.block) {
#define SNN_BLOCK(n) \
    case n:          \
        return gather_block<n>(g, merged, items, block, y, x0, pixels, steps, to);
        SNN_BLOCK(16) SNN_BLOCK(32) SNN_BLOCK(64) SNN_BLOCK(128) SNN_BLOCK(256)
#undef SNN_BLOCK
    }
}

}  // namespace snn
