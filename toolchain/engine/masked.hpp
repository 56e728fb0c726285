// Depthwise sums of spikes: the weights of a tap, added where its pixel fired.
#pragma once

#include "messages.hpp"

namespace snn {

// The spikes of one tap's pixel, 16 bits for every 16 lanes, and its weights.
struct Tap {
    const uint16_t *spikes;
    const int16_t *weights;
};

// Adds the weights of N times 16 lanes where their bits are set.
template <int N>
struct MaskedSums {
#if defined(__AVX512BW__)
    static constexpr int kCount = N == 1 ? 1 : N / 2, kPer = N == 1 ? 16 : 32;
    using V = Vector<int16_t, 2 * kPer>;
    V sums[kCount];

    SNN_INLINE void add(const uint16_t *spikes, const int16_t *weights) {
        for (int j = 0; j < kCount; ++j)
            if constexpr (N == 1)
                sums[j] = (V)_mm256_mask_add_epi16((__m256i)sums[j], *spikes, (__m256i)sums[j],
                                                   load<__m256i>(weights));
            else
                sums[j] =
                    (V)_mm512_mask_add_epi16((__m512i)sums[j], load<uint32_t>(spikes + 2 * j),
                                             (__m512i)sums[j], load<__m512i>(weights + j * kPer));
    }
#else
    using V = Vector<int16_t, kBytes>;
    static constexpr int kPer = kBytes / 2, kParts = kLanes / kPer, kCount = N * kParts;
    V sums[kCount];

    SNN_INLINE void add(const uint16_t *spikes, const int16_t *weights) {
        V bit[kParts];
        for (int p = 0; p < kParts; ++p)
            for (int j = 0; j < kPer; ++j) bit[p][j] = int16_t(1u << (p * kPer + j));
        for (int j = 0; j < kCount; ++j) {
            const V all = V{} + int16_t(spikes[j / kParts]), b = bit[j % kParts];
            sums[j] += ((all & b) == b) & load<V>(weights + j * kPer);
        }
    }
#endif
    SNN_INLINE void clear() {
        for (auto &s : sums) s = V{};
    }
    SNN_INLINE void write(int16_t *to) const {
        for (int j = 0; j < kCount; ++j) store(to + j * kPer, sums[j]);
    }
};

// Sums over all taps, for all steps; the next step's spikes are `stride` further. With a number of
// taps that the compiler knows, the loop over them is unrolled.
template <int N, int Taps>
void masked_steps(const Tap *given, int n_taps, size_t stride, int steps, int16_t *to,
                  size_t to_stride) {
    Tap taps[Taps ? Taps : 1];
    if constexpr (Taps > 0) std::copy(given, given + Taps, taps);
    const Tap *tap = Taps ? taps : given;
    const int n = Taps ? Taps : n_taps;
    size_t at = 0;
    for (int t = 0; t < steps; ++t, to += to_stride, at += stride) {
        MaskedSums<N> sums;
        sums.clear();
#pragma GCC unroll 9
        for (int i = 0; i < n; ++i) sums.add(tap[i].spikes + at, tap[i].weights);
        sums.write(to);
    }
}

template <int N>
void masked_sums(const std::vector<Tap> &taps, size_t stride, int steps, int16_t *to,
                 size_t to_stride) {
    const int n = int(taps.size());
    switch (n) {
        case 4:
            return masked_steps<N, 4>(taps.data(), n, stride, steps, to, to_stride);
        case 9:
            return masked_steps<N, 9>(taps.data(), n, stride, steps, to, to_stride);
        default:
            return masked_steps<N, 0>(taps.data(), n, stride, steps, to, to_stride);
    }
}

// Sums of the pixel (y, x) for `lanes` channels from c0 on, at all steps: (steps, to_step).
inline void depthwise_spikes(const Group &g, const Messages &m, int y, int x, int c0, int lanes,
                             int steps, std::vector<Tap> &taps, int16_t *to, size_t to_step) {
    const int y0 = y * g.given.stride[0] - g.given.top, x0 = x * g.given.stride[1] - g.given.left;
    const size_t stride = m.step_words(g.in) * 4;
    for (int c = 0; c < lanes; c += 64) {
        taps.clear();
        const int16_t *weights = g.taps.data() + c0 + c;
        for (int sign = 0; sign < g.signs; ++sign)
            for (int a = 0; a < g.kh(); ++a)
                for (int b = 0; b < g.kw(); ++b, weights += g.out.padded) {
                    const int yy = y0 + a * g.given.dilation[0], xx = x0 + b * g.given.dilation[1];
                    if (yy < 0 || yy >= g.in.height || xx < 0 || xx >= g.in.width) continue;
                    taps.push_back(
                        {spikes_at(m.map(g.in, 0, sign), g.in, yy, xx, c0 + c), weights});
                }
        switch (lanes) {
            case 16:
                masked_sums<1>(taps, stride, steps, to + c, to_step);
                break;
            case 32:
                masked_sums<2>(taps, stride, steps, to + c, to_step);
                break;
            default:
                masked_sums<4>(taps, stride, steps, to + c, to_step);
        }
    }
}

// Adds the spikes of the pixel (y, x) under a single tap, times its weights, to sums of 32 bits:
// (steps, to_step).
inline void add_single_tap(const Group &g, const Messages &m, int y, int x, int c0, int lanes,
                           int steps, int32_t *to, size_t to_step) {
    const int yy = y * g.given.stride[0] - g.given.top, xx = x * g.given.stride[1] - g.given.left;
    if (yy < 0 || yy >= g.in.height || xx < 0 || xx >= g.in.width) return;
    const uint16_t *spikes = spikes_at(m.map(g.in, 0), g.in, yy, xx, c0);
    const size_t stride = m.step_words(g.in) * 4;
    for (int c = 0; c < lanes; c += kLanes) {
        const Lanes<int32_t> weights = Lanes<int32_t>::at(g.tap.data() + c0 + c);
        const uint16_t *from = spikes + c / kLanes;
        int32_t *into = to + c;
        for (int t = 0; t < steps; ++t, from += stride, into += to_step)
            add_where(*from, weights, Lanes<int32_t>::at(into)).to(into);
    }
}

}  // namespace snn
