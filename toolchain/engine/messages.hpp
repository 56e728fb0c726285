// What a population sends during the steps at hand: bits for spikes, bytes for payloads.
#pragma once

#include <algorithm>

#include "tally.hpp"

namespace snn {

struct Messages {
    // Spikes: [step][sign][row][words of a row].
    Array<uint64_t> bits;
    int signs = 1;
    // Values: [plane][step][row][column][lane]; value = sum of plane * 256**index, minus `zero`.
    Array<uint8_t> planes;
    int64_t zero = 0;
    int n_planes = 0;
    int steps = 0;        // room
    size_t n_spikes = 0;  // in this window
    double density = 0;   // of them
    Tally tally;

    void resize(const Population &p, int n_steps) {
        steps = p.given.held ? 1 : n_steps;
        signs = p.signs;
        zero = -std::min<int64_t>(p.given.low, 0);
        if (p.spikes())  // and a word that may be read beyond the last
            bits.assign(steps * signs * p.shape.words() + 1, 0);
        if (p.values()) {
            n_planes = p.planes;
            planes.assign(size_t(n_planes) * steps * p.shape.lanes(), 0);
            tally.resize(p.shape.lanes());
        }
    }
    // In the debug build, forgets what was sent; all but the padding, which is 0 from the
    // beginning.
    void spoil(const Shape &s) {
        const size_t halves = size_t(s.width) * s.padded / 16;
        for (size_t row = 0, n = bits.size() / s.row_words(); row < n; ++row)
            snn::spoil(reinterpret_cast<uint16_t *>(&bits[row * s.row_words()]), halves);
        for (size_t pixel = 0; pixel < planes.size(); pixel += s.padded)
            snn::spoil(&planes[pixel], s.channels);
    }
    // Words between the maps of successive steps.
    size_t step_words(const Shape &s) const { return signs * s.words(); }
    uint64_t *map(const Shape &s, int t, int sign = 0) {
        return bits.data() + (size_t(t) * signs + sign) * s.words();
    }
    const uint64_t *map(const Shape &s, int t, int sign = 0) const {
        return const_cast<Messages *>(this)->map(s, t, sign);
    }
    uint8_t *plane(const Shape &s, int k, int t) {
        return planes.data() + (size_t(k) * steps + t) * s.lanes();
    }
    const uint8_t *plane(const Shape &s, int k, int t) const {
        return planes.data() + (size_t(k) * steps + t) * s.lanes();
    }
    int spike(const Shape &s, int t, int y, int x, int c) const {
        const size_t bit = size_t(x) * s.padded + c, word = y * s.row_words() + bit / 64;
        const auto fired = [&](int sign) { return int(map(s, t, sign)[word] >> (bit % 64) & 1); };
        return signs == 1 ? fired(0) : fired(0) - fired(1);
    }
    int64_t value(const Shape &s, int t, int y, int x, int c) const {
        const size_t at = (size_t(y) * s.width + x) * s.padded + c;
        int64_t sum = -zero;
        for (int k = 0; k < n_planes; ++k) sum += int64_t(plane(s, k, t)[at]) << (8 * k);
        return sum;
    }
};

// The 16 spikes of lanes c..c+15 of a pixel.
inline uint16_t *spikes_at(uint64_t *map, const Shape &s, int y, int x, int c) {
    return reinterpret_cast<uint16_t *>(map + y * s.row_words()) + (size_t(x) * s.padded + c) / 16;
}
inline const uint16_t *spikes_at(const uint64_t *map, const Shape &s, int y, int x, int c) {
    return spikes_at(const_cast<uint64_t *>(map), s, y, x, c);
}

// A square of bits, row i in word i, becomes its transpose (Hacker's Delight, 7-3): blocks of half
// the size change places, again and again. Here several rows lie in one register; `kRows` of them.
constexpr int kRows = kBytes / 8;
using Rows = Vector<uint64_t, kBytes>;

template <int J>
SNN_INLINE void swap_blocks(Rows *r, uint64_t mask) {
    if constexpr (J >= kRows) {
        constexpr int j = J / kRows;
        for (int k = 0; k < 64 / kRows; ++k)
            if (!(k & j)) {
                const Rows t = ((r[k] >> J) ^ r[k + j]) & mask;
                r[k] ^= t << J;
                r[k + j] ^= t;
            }
    } else {
        Rows upper;
        for (int i = 0; i < kRows; ++i) upper[i] = i & J ? ~0ull : 0;
        for (int k = 0; k < 64 / kRows; ++k) {
            Rows partner;
#if defined(__AVX512BW__)
            if constexpr (J == 1)
                partner = __builtin_shufflevector(r[k], r[k], 1, 0, 3, 2, 5, 4, 7, 6);
            if constexpr (J == 2)
                partner = __builtin_shufflevector(r[k], r[k], 2, 3, 0, 1, 6, 7, 4, 5);
            if constexpr (J == 4)
                partner = __builtin_shufflevector(r[k], r[k], 4, 5, 6, 7, 0, 1, 2, 3);
#elif defined(__AVX2__)
            if constexpr (J == 1) partner = __builtin_shufflevector(r[k], r[k], 1, 0, 3, 2);
            if constexpr (J == 2) partner = __builtin_shufflevector(r[k], r[k], 2, 3, 0, 1);
#else
            partner = __builtin_shufflevector(r[k], r[k], 1, 0);
#endif
            const Rows low = (r[k] & ~upper) | (partner & upper),
                       high = (partner & ~upper) | (r[k] & upper);
            const Rows t = ((low >> J) ^ high) & mask;
            r[k] ^= (t & upper) | ((t << J) & ~upper);
        }
    }
}

inline void transpose(uint64_t *words) {
    Rows r[64 / kRows];
    std::memcpy(r, words, sizeof r);
    swap_blocks<32>(r, 0x00000000ffffffff);
    swap_blocks<16>(r, 0x0000ffff0000ffff);
    swap_blocks<8>(r, 0x00ff00ff00ff00ff);
    swap_blocks<4>(r, 0x0f0f0f0f0f0f0f0f);
    swap_blocks<2>(r, 0x3333333333333333);
    swap_blocks<1>(r, 0x5555555555555555);
    std::memcpy(words, r, sizeof r);
}

// One bit for each of n <= 64 numbers that are 0 or 1; other numbers leave a trace in `other`.
template <class T>
SNN_INLINE uint64_t ones(const T *from, int n, T &other) {
    uint64_t bits = 0;
    int i = 0;
#if defined(__AVX512BW__)
    if constexpr (sizeof(T) == 1) {
        const __m512i v = _mm512_maskz_loadu_epi8(_bzhi_u64(~0ull, uint32_t(n)), from);
        if (_mm512_test_epi8_mask(v, _mm512_set1_epi8(~1))) other = 2;
        return _mm512_test_epi8_mask(v, _mm512_set1_epi8(1));
    }
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 1)
        for (; i + 32 <= n; i += 32) {
            const __m256i v = load<__m256i>(from + i);
            if (!_mm256_testz_si256(v, _mm256_set1_epi8(~1))) other = 2;
            bits |= uint64_t(uint32_t(_mm256_movemask_epi8(_mm256_slli_epi16(v, 7)))) << i;
        }
#endif
#if defined(__SSE2__)
    if constexpr (sizeof(T) == 1)
        for (; i + 16 <= n; i += 16) {
            const __m128i v = load<__m128i>(from + i), even = _mm_andnot_si128(_mm_set1_epi8(1), v);
            if (_mm_movemask_epi8(_mm_cmpeq_epi8(even, _mm_setzero_si128())) != 0xffff) other = 2;
            bits |= uint64_t(uint32_t(_mm_movemask_epi8(_mm_slli_epi16(v, 7)))) << i;
        }
#endif
    for (; i < n; ++i) {
        bits |= uint64_t(from[i] & 1) << i;
        other |= from[i];
    }
    return bits;
}

// The same for spikes of both signs: bits where they are 1, and where they are -1.
template <int Signs, class T>
SNN_INLINE void spikes_of(const T *from, int n, T &other, uint64_t (&bits)[Signs]) {
    if constexpr (Signs == 1) {
        bits[0] = ones(from, n, other);
    } else {
        T positive[64], negative[64];
        for (int i = 0; i < n; ++i) {
            positive[i] = std::max(from[i], T(0));
            negative[i] = T(positive[i] - from[i]);
        }
        bits[0] = ones(positive, n, other);
        bits[1] = ones(negative, n, other);
    }
}

// Puts the channels c0.. of up to 64 pixels from p0 on into a map: a word of `square` for each
// pixel, of which Pixel holds what is there of it.
template <class Pixel>
void put_pixels(const Shape &s, const uint64_t *square, int p0, int pixels, int c0, uint64_t *map) {
    const size_t apart = s.padded / 8, row = s.row_words() * 8;
    int y = p0 / s.width, x = p0 % s.width;
    for (int p = 0; p < pixels; ++y, x = 0) {
        uint8_t *to = reinterpret_cast<uint8_t *>(map) + y * row + x * apart + c0 / 8;
        const int end = std::min(pixels, p + s.width - x);
        for (; p < end; ++p, to += apart) store(to, Pixel(square[p]));
    }
}

// Takes the spikes (C, H, W) of one step into the engine's layout; whether all were 0 or 1 (or -1).
// A channel's pixels are read one after the other, as they lie in memory.
template <int Signs, class T>
bool take_spikes(const Shape &s, const T *from, uint64_t *map) {
    constexpr int kSquares = 8;
    const auto put = s.padded == 16   ? put_pixels<uint16_t>
                     : s.padded == 32 ? put_pixels<uint32_t>
                                      : put_pixels<uint64_t>;
    const int n = int(s.pixels());
    T other = 0;
    uint64_t bits[Signs];
    for (int c0 = 0; c0 < s.channels; c0 += 64) {
        const int channels = std::min(64, s.channels - c0);
        if (n == 1) {
            spikes_of<Signs>(from + c0, channels, other, bits);
            for (int i = 0; i < Signs; ++i) map[i * s.words() + c0 / 64] = bits[i];
            continue;
        }
        for (int first = 0; first < n; first += 64 * kSquares) {
            const int end = std::min(n, first + 64 * kSquares);
            alignas(64) uint64_t squares[kSquares][Signs][64];
            for (int c = 0; c < channels; ++c)
                for (int p = first, k = 0; p < end; p += 64, ++k) {
                    spikes_of<Signs>(from + size_t(c0 + c) * n + p, std::min(64, end - p), other,
                                     bits);
                    for (int i = 0; i < Signs; ++i) squares[k][i][c] = bits[i];
                }
            for (int p = first, k = 0; p < end; p += 64, ++k)
                for (int i = 0; i < Signs; ++i) {
                    uint64_t *square = squares[k][i];
                    std::fill(square + channels, square + 64, 0);
                    transpose(square);
                    put(s, square, p, std::min(64, end - p), c0, map + i * s.words());
                }
        }
    }
    return !(other & ~T(1));
}

// Takes the values (C, H, W) of one step into the engine's layout; whether all were in range.
template <class T>
bool take_values(const Population &p, const T *from, Messages &to, int t) {
    const Shape &s = p.shape;
    const size_t n = s.pixels();
    T low = 0, high = 0;
    for (size_t i = 0; i < s.neurons(); ++i) {
        low = std::min(low, from[i]);
        high = std::max(high, from[i]);
    }
    if (low < p.given.low || high > p.given.high) return false;
    for (int k = 0; k < to.n_planes; ++k) {
        uint8_t *plane = to.plane(s, k, t);
        for (int c = 0; c < s.channels; ++c)
            for (size_t i = 0; i < n; ++i)
                plane[i * s.padded + c] =
                    uint8_t(uint64_t(int64_t(from[c * n + i]) + to.zero) >> (8 * k));
    }
    return true;
}

template <class T>
bool take(const Population &p, const T *from, Messages &to, int t) {
    if (p.values()) return take_values(p, from, to, t);
    uint64_t *map = to.map(p.shape, t);
    return p.signs == 1 ? take_spikes<1>(p.shape, from, map) : take_spikes<2>(p.shape, from, map);
}

}  // namespace snn
