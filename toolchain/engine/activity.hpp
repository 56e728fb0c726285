// How often each neuron has sent a message.
#pragma once

#include "messages.hpp"

namespace snn {

// Adds the spikes of each lane and one sign, over all steps of the window. Counts of up to 63 are
// kept in six words, one for each binary digit, for 64 lanes at once (a ripple-carry counter of
// bits).
inline void count_spikes(const Shape &s, const Messages &m, int sign, int steps, uint32_t *counts) {
    static_assert(kWindow < 64, "counts of six digits");
    const size_t words = s.row_words(), halves = size_t(s.width) * s.padded / 16;
    Array<uint64_t> digits(6 * words);
    for (int y = 0; y < s.height; ++y) {
        std::fill(digits.begin(), digits.end(), 0);
        for (int t = 0; t < steps; ++t) {
            const uint64_t *row = m.map(s, t, sign) + y * words;
            for (size_t i = 0; i < words; ++i) {
                uint64_t carry = row[i];
                for (int d = 0; d < 6; ++d) {
                    uint64_t &digit = digits[d * words + i];
                    const uint64_t next = digit & carry;
                    digit ^= carry;
                    carry = next;
                }
            }
        }
        for (int d = 0; d < 6; ++d) {
            const uint16_t *half = reinterpret_cast<const uint16_t *>(digits.data() + d * words);
            uint32_t *to = counts + y * halves * 16;
            for (size_t i = 0; i < halves; ++i, to += 16)
                for (int j = 0; j < 16; ++j) to[j] += uint32_t(half[i] >> j & 1) << d;
        }
    }
}

inline void count_values(const Shape &s, Messages &m, int steps, Array<uint32_t> &counts) {
    const auto zero = [&](int k) { return uint8_t(m.zero >> (8 * k)); };
    for (int t = 0; t < steps; ++t) {
        const uint8_t *q = m.plane(s, 0, t);
        const uint8_t none = zero(0);
        if (m.n_planes == 1) {
            m.tally.add(1, [=](size_t i) { return q[i] != none; }, counts);
        } else if (m.n_planes == 2) {
            const uint8_t *p = m.plane(s, 1, t), none_above = zero(1);
            const auto differs = [=](size_t i) { return (q[i] != none) | (p[i] != none_above); };
            m.tally.add(1, differs, counts);
        } else {
            m.tally.spill();
            for (size_t i = 0, n = s.lanes(); i < n; ++i) {
                bool differs = false;
                for (int k = 0; k < m.n_planes; ++k) differs |= m.plane(s, k, t)[i] != zero(k);
                counts[i] += differs;
            }
        }
    }
}

// The digits of values none of which is negative.
inline void count_digits(const Population &p, Messages &m, int steps, Array<uint32_t> &counts) {
    const Shape &s = p.shape;
    const unsigned most = p.given.high < 16 ? 4 : 8;
    for (int t = 0; t < steps; ++t)
        for (int k = 0; k < m.n_planes; ++k) {
            const uint8_t *q = m.plane(s, k, t);
            m.tally.add(most, [=](size_t i) { return digits(q[i]); }, counts);
        }
}

// Adds up the values of each lane, none of which is negative.
inline void sum_values(const Population &p, Messages &m, int steps, Array<uint64_t> &sums) {
    const Shape &s = p.shape;
    const unsigned most = unsigned(std::min<int64_t>(p.given.high, 255));
    for (int t = 0; t < steps; ++t) {
        const uint8_t *q = m.plane(s, 0, t);
        m.tally.add(most, [=](size_t i) { return q[i]; }, sums);
        for (int k = 1; k < m.n_planes; ++k) {
            const uint8_t *plane = m.plane(s, k, t);
            m.tally.spill();
            for (size_t i = 0; i < s.lanes(); ++i) sums[i] += uint64_t(plane[i]) << (8 * k);
        }
    }
}

// Adds what the narrow counters hold to the wide ones.
inline void settle(const Population &p, Messages &m, Array<uint32_t> &counts,
                   Array<uint64_t> &sums) {
    if (p.counted_by_value())
        m.tally.empty(sums);
    else if (p.values())
        m.tally.empty(counts);
}

// Messages of each lane, added to `counts`, or their values, added to `sums`: as the population is
// counted. `settle` has to follow before these are read. Also the share of neurons that fired.
inline void count(const Population &p, Messages &m, int steps, bool counting,
                  Array<uint32_t> &counts, Array<uint64_t> &sums) {
    const Shape &s = p.shape;
    if (p.spikes()) {
        const uint64_t *const bits = m.bits.data();
        size_t n = 0;
        for (size_t i = 0; i < steps * m.step_words(s); ++i) n += __builtin_popcountll(bits[i]);
        m.n_spikes = n;
        m.density = double(m.n_spikes) / (double(steps) * double(s.neurons()));
    }
    if (!counting) return;
    if (p.spikes())
        for (int sign = 0; sign < m.signs; ++sign) count_spikes(s, m, sign, steps, counts.data());
    else if (p.counted_by_value())
        sum_values(p, m, steps, sums);
    else if (p.given.counting == SNN_COUNT_DIGITS)
        count_digits(p, m, steps, counts);
    else
        count_values(s, m, steps, counts);
}

}  // namespace snn
