// Lists of spikes, in the order in which output pixels see them.
//
// Spikes become lists of offsets into the weights (`Events`). What an output pixel sees at a step
// has to be one contiguous stretch, which costs one loop: with a loop for each row of the kernel,
// the mispredicted loop ends would cost more than the sums. There are two ways to this:
//
//   columns  The lists of a map go down its columns. For a row of output pixels, the stretches that
//            the kernel's rows cut out of each column are copied together (`Merged`).
//   strips   Where neighbouring pixels are folded into one, a column holds few spikes and a pixel
//            sees many columns. What it sees are the bits of a strip of columns, a word of which
//            has several pixels. A list goes down each strip; strips overlap, so that some spikes
//            are listed twice, but nothing has to be copied.
#pragma once

#include "messages.hpp"

namespace snn {

struct Events {
    Array<uint32_t>
        offset;             // of rows of weights, in bytes, as if row 0 and column 0 met tap (0, 0)
    Array<uint32_t> start;  // [step][column or strip][row], + 1: where the list of a pixel begins
};

// What output pixels of one row see: [step][column], + 1, into the offsets.
struct Merged {
    Array<uint32_t> offset, start;
    const uint32_t *offsets = nullptr;
    const uint32_t *begin = nullptr, *end = nullptr;  // of the column 0 at step 0
    size_t column = 1, step = 0;                      // how far the next ones are
};

#if defined(__AVX2__) && !defined(__AVX512VBMI2__)
// The positions of the bits of a byte, lowest first.
struct BitsOfByte {
    alignas(64) uint8_t at[256][8] = {};
    constexpr BitsOfByte() {
        for (int byte = 0; byte < 256; ++byte)
            for (int bit = 0, n = 0; bit < 8; ++bit)
                if (byte >> bit & 1) at[byte][n++] = uint8_t(bit);
    }
};
static constexpr BitsOfByte kBitsOfByte;

SNN_INLINE __m128i load_half(const uint8_t *from) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i *>(from));
}
#endif

// Appends the positions of the bits of a word, of which only the first `Bits` may be set, times
// 2**shift, plus a base. May write up to 16 entries beyond the ones that count.
template <int Bits = 64>
SNN_INLINE uint32_t *positions(uint64_t word, uint32_t base, int shift, uint32_t *to) {
    const int n = __builtin_popcountll(word);
#if defined(__AVX512VBMI2__)
    alignas(64) static constexpr uint8_t iota[64] = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
        22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
        44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
    const __m512i bytes = _mm512_maskz_compress_epi8(word, load<__m512i>(iota));
    const __m512i add = _mm512_set1_epi32(int(base));
    const __m128i by = _mm_cvtsi32_si128(shift);
    const auto put = [&](__m128i sixteen, int at) {
        const __m512i wide = _mm512_cvtepu8_epi32(sixteen);
        _mm512_storeu_si512(to + at, _mm512_add_epi32(_mm512_sll_epi32(wide, by), add));
    };
    put(_mm512_castsi512_si128(bytes), 0);
    if (n > 16) {
        put(_mm512_extracti32x4_epi32(bytes, 1), 16);
        put(_mm512_extracti32x4_epi32(bytes, 2), 32);
        put(_mm512_extracti32x4_epi32(bytes, 3), 48);
    }
#else
    // A fixed number of writes whatever the word holds: a loop that ends with its last bit would be
    // mispredicted at every word.
    const auto lowest = [&](int from, int end, uint64_t guard) {
        for (int i = from; i < end; ++i) {
            to[i] = base + (uint32_t(__builtin_ctzll(word | guard)) << shift);
            word &= word - 1;
        }
    };
#if defined(__AVX2__)
    if (n <= 4) {
        lowest(0, 4, 1ull << 63);
        return to + n;
    }
    const __m128i by = _mm_cvtsi32_si128(shift);
    const __m256i next = _mm256_set1_epi32(8 << shift);
    __m256i from = _mm256_set1_epi32(int(base));
#pragma GCC unroll 8
    for (int i = 0; i < Bits; i += 8) {
        const uint8_t byte = uint8_t(word >> i);
        const __m256i at = _mm256_cvtepu8_epi32(load_half(kBitsOfByte.at[byte]));
        store(to, _mm256_add_epi32(_mm256_sll_epi32(at, by), from));
        from = _mm256_add_epi32(from, next);
        to += __builtin_popcount(byte);
    }
    return to;
#else
    lowest(0, 4, 1ull << 63);
    if (n > 4) {
        lowest(4, 12, 1ull << 63);
        lowest(12, n, 0);
    }
#endif
#endif
    return to + n;
}

// Lists of all spikes of a map, for all steps: column by column, because the rows of a column that
// a pixel sees are then one stretch. Pixel is the type that holds the bits of a pixel, or 64 of
// them.
template <class Pixel, int Signs>
void list_pixels(const Group &g, const Messages &m, int steps, Events &events) {
    const Shape &s = g.in;
    const int shift = __builtin_ctz(g.block), height = s.height, width = s.width;
    const size_t words = s.padded / 64, row_bytes = s.row_words() * 8, map_bytes = s.words() * 8;
    const int32_t *const order_y = g.y.order.data(), *const order_x = g.x.order.data();
    std::vector<uint32_t> bases(height);  // of column 0
    for (int j = 0; j < height; ++j)
        bases[j] = uint32_t(g.y.rank[j]) * uint32_t(g.taps_x * g.pixel_rows()) << shift;
    const uint32_t *const base_y = bases.data();
    uint32_t *const __restrict first = events.offset.data();
    uint32_t *__restrict to = first;
    uint32_t *__restrict start = events.start.data();
    for (int t = 0; t < steps; ++t) {
        const uint8_t *map =
            reinterpret_cast<const uint8_t *>(m.bits.data() + t * Signs * s.words());
        for (int i = 0; i < width; ++i) {
            const uint8_t *column = map + size_t(order_x[i]) * s.padded / 8;
            const uint32_t base_x = uint32_t(g.x.rank[i]) * uint32_t(g.pixel_rows()) << shift;
            for (int j = 0; j < height; ++j) {
                *start++ = uint32_t(to - first);
                uint32_t base = base_x + base_y[j];
                for (int sign = 0; sign < Signs; ++sign) {
                    const uint8_t *pixel = column + order_y[j] * row_bytes + sign * map_bytes;
                    if constexpr (sizeof(Pixel) < 8) {
                        to = positions(load<Pixel>(pixel), base, shift, to);
                        base += uint32_t(8 * sizeof(Pixel)) << shift;
                    } else {
                        for (size_t k = 0; k < words; ++k, pixel += 8, base += 64u << shift)
                            to = positions(load<uint64_t>(pixel), base, shift, to);
                    }
                }
            }
        }
    }
    *start = uint32_t(to - first);
}

template <int Signs>
void list_all(const Group &g, const Messages &m, int steps, Events &events) {
    switch (g.in.padded) {
        case 16:
            return list_pixels<uint16_t, Signs>(g, m, steps, events);
        case 32:
            return list_pixels<uint32_t, Signs>(g, m, steps, events);
        default:
            return list_pixels<uint64_t, Signs>(g, m, steps, events);
    }
}

// The same strip by strip: what each of the folded pixels of a row sees.
inline void list_strips(const Group &g, const Messages &m, int steps, Events &events) {
    const Shape &s = g.in;
    const int shift = __builtin_ctz(g.block), height = s.height, signs = g.signs;
    const int sign_rows = g.sign_rows(), tap_rows = g.taps_x * g.pixel_rows();
    const size_t row_bytes = s.row_words() * 8, map_bytes = s.words() * 8;
    const int32_t *const order_y = g.y.order.data(), *const rank_y = g.y.rank.data();
    uint32_t *const __restrict first = events.offset.data();
    uint32_t *__restrict to = first;
    uint32_t *__restrict start = events.start.data();
    for (int t = 0; t < steps; ++t) {
        const uint8_t *map = reinterpret_cast<const uint8_t *>(m.map(s, t));
        for (size_t i = 0; i < g.strips.begin.size(); ++i) {
            const int begin = g.strips.begin[i] * s.padded;
            const int bits = g.strips.end[i] * s.padded - begin;
            const int first_tap = begin - g.strips.first[i] * s.padded;
            const int words = bits / 64 * 64;
            const uint64_t last = (1ull << (bits - words)) - 1;  // of the bits after the last word
            for (int j = 0; j < height; ++j) {
                *start++ = uint32_t(to - first);
                const uint8_t *from = map + order_y[j] * row_bytes + begin / 8;
                uint32_t base = uint32_t(rank_y[j] * tap_rows + first_tap) << shift;
                for (int sign = 0; sign < signs; ++sign) {
                    for (int k = 0; k < words; k += 64)
                        to = positions(load<uint64_t>(from + k / 8), base + (uint32_t(k) << shift),
                                       shift, to);
                    const uint64_t rest = last ? load<uint64_t>(from + words / 8) & last : 0;
                    const uint32_t at = base + (uint32_t(words) << shift);
                    if (last >> 32)
                        to = positions(rest, at, shift, to);
                    else if (last)
                        to = positions<32>(rest, at, shift, to);
                    from += map_bytes;
                    base += uint32_t(sign_rows) << shift;
                }
            }
        }
    }
    *start = uint32_t(to - first);
}

inline void list_events(const Group &g, const Messages &m, int steps, Events &events) {
    const size_t strips = g.strips.begin.size();
    // Room for what `positions` and `copy_list` may write beyond the end.
    grow(events.offset, (strips ? g.most_strips : 1) * m.n_spikes + 128);
    grow(events.start, size_t(steps) * (strips ? strips * g.in.height : g.in.pixels()) + 1);
    if (strips)
        list_strips(g, m, steps, events);
    else if (g.signs == 1)
        list_all<1>(g, m, steps, events);
    else
        list_all<2>(g, m, steps, events);
}

// Appends n offsets. May write a register beyond the ones that count.
SNN_INLINE uint32_t *copy_list(const uint32_t *from, uint32_t n, uint32_t *to) {
    using U = Vector<uint32_t, kBytes>;
    constexpr uint32_t per = kBytes / 4;
    store(to, load<U>(from));
    for (uint32_t j = per; j < n; j += per) store(to + j, load<U>(from + j));
    return to + n;
}

// What the output row y sees: for every column, the lists of the rows under the kernel.
inline void merge_rows(const Group &g, const Events &events, int y, int steps, Merged &merged) {
    const Shape &s = g.in;
    const uint32_t *start = events.start.data();
    const size_t strips = g.strips.begin.size();
    if (g.taps_x == 1 || strips) {  // one column or strip, whose stretch is there already
        merged.offsets = events.offset.data();
        merged.begin = start + g.y.begin[y];
        merged.end = start + g.y.end[y] - s.height;  // of the column before the end
        merged.column = s.height;
        merged.step = strips ? strips * s.height : s.pixels();
        return;
    }
    const int begin = g.y.begin[y], rows = g.y.end[y] - begin, width = s.width;
    start += begin;
    grow(merged.offset, events.offset.size());
    grow(merged.start, steps * size_t(width + 1));
    const uint32_t *const from = events.offset.data();
    uint32_t *const __restrict first = merged.offset.data();
    uint32_t *__restrict to = first;
    uint32_t *__restrict into = merged.start.data();
    const int height = s.height;
    for (int t = 0; t < steps; ++t) {
        for (int i = 0; i < width; ++i, start += height) {
            *into++ = uint32_t(to - first);
            to = copy_list(from + start[0], start[rows] - start[0], to);
        }
        *into++ = uint32_t(to - first);
    }
    merged.offsets = merged.offset.data();
    merged.begin = merged.end = merged.start.data();
    merged.column = 1;
    merged.step = size_t(width) + 1;
}

}  // namespace snn
