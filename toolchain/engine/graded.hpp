// Neuron models that keep no state: what they send at a step is a function of the input they sum up
// in it. Each is one small struct: its parameters in registers, and `answer`.
#pragma once

#include <algorithm>

#include "place.hpp"

namespace snn {

// q = min((max(V, 0) * multiplier) >> shift, largest payload), V = a + bias. No state.
template <class T>
struct Graded;

template <>
struct Graded<int64_t> {
    using L = Lanes<int64_t>;
    L bias, multiplier, shift;
    int64_t limit, largest;

    SNN_INLINE explicit Graded(const Place &p)
        : bias(p.bias<int64_t>()),
          multiplier(L::at(p.parameters<int64_t>().multiplier.data() + p.lane)),
          shift(L::at(p.parameters<int64_t>().shift.data() + p.lane)),
          limit(p.population.given.limit),
          largest(p.population.given.high) {}
    SNN_INLINE L answer(const L &a) const {
        const L v = max(clip(a + bias, limit), L::all(0));
        return min((v * multiplier) >> shift, L::all(largest));
    }
};

// The product of 23 and 12 bits is exact in a double, and so is its scaling by a power of two;
// truncation is then the floor of the shift. Processors multiply doubles faster than 64-bit
// integers. `cap` is a potential whose answer is above the largest payload, so that no product
// leaves 32 bits.
template <>
struct Graded<int32_t> {
    using L = Lanes<int32_t>;
    using Double = Vector<double, L::kPer * 8>;
    L bias, cap;
    const double *factor;
    int32_t largest;

    SNN_INLINE explicit Graded(const Place &p)
        : bias(p.bias<int32_t>()),
          cap(L::at(p.population.cap.data() + p.lane)),
          factor(p.population.factor.data() + p.lane),
          largest(int32_t(p.population.given.high)) {}
    SNN_INLINE L answer(const L &a) const {
        const L v = max(min(a + bias, cap), L::all(0));
        L q;
        for (int i = 0; i < L::kCount; ++i)
            q.r[i] = __builtin_convertvector(
                __builtin_convertvector(v.r[i], Double) * load<Double>(factor + i * L::kPer),
                L::Register);
        return min(q, L::all(largest));
    }
};

// The same, and clip-floor neurons, where one product with an integer of 32 bits has the quotients
// of all potentials up to the limit: `scale` in prepare.cpp shows it.
template <class T>
struct Scaled;

template <>
struct Scaled<int32_t> {
    using L = Lanes<int32_t>;
    L bias;
    Factors factor;
    int32_t limit, largest;
    int shift;

    SNN_INLINE explicit Scaled(const Place &p)
        : bias(p.bias<int32_t>()),
          factor(p.population.scale.data() + p.lane),
          limit(int32_t(p.population.given.limit)),
          largest(int32_t(p.population.given.high)),
          shift(p.population.scale_shift) {}
    SNN_INLINE L answer(const L &a) const {
        const L v = max(min(a + bias, L::all(limit)), L::all(0));
        return min(factor.multiply_high(v) >> shift, L::all(largest));
    }
};

template <>
struct Scaled<int64_t> : Graded<int64_t> {  // none: such sums are not proven to fit
    using Graded<int64_t>::Graded;
};

// q = clip(V // threshold, 0, levels), V = a + bias. No state. Below 0 the answer is 0, so that
// truncation is the floor.
template <class T>
struct ClipFloor;

template <>
struct ClipFloor<int64_t> {
    using L = Lanes<int64_t>;
    L bias, threshold;
    int64_t limit, levels;

    SNN_INLINE explicit ClipFloor(const Place &p)
        : bias(p.bias<int64_t>()),
          threshold(L::at(p.parameters<int64_t>().threshold.data() + p.lane)),
          limit(p.population.given.limit),
          levels(p.population.given.high) {}
    SNN_INLINE L answer(const L &a) const {
        const L v = max(clip(a + bias, limit), L::all(0));
        return min(v / threshold, L::all(levels));
    }
};

// Processors multiply doubles far faster than they divide. A quotient (V + 1/2) / threshold has the
// floor of V / threshold and is no less than 1 / (2 threshold) away from any integer; V is less
// than 2**30, so that the two roundings of its product with 1 / threshold stay below 2**-22 /
// threshold.
template <>
struct ClipFloor<int32_t> {
    using L = Lanes<int32_t>;
    using Double = Vector<double, L::kPer * 8>;
    L bias;
    const double *factor;
    int32_t limit, levels;

    SNN_INLINE explicit ClipFloor(const Place &p)
        : bias(p.bias<int32_t>()),
          factor(p.population.factor.data() + p.lane),
          limit(int32_t(p.population.given.limit)),
          levels(int32_t(p.population.given.high)) {}
    SNN_INLINE L answer(const L &a) const {
        const L v = max(min(a + bias, L::all(limit)), L::all(0));
        L q;
        for (int i = 0; i < L::kCount; ++i)
            q.r[i] = __builtin_convertvector((__builtin_convertvector(v.r[i], Double) + 0.5) *
                                                 load<Double>(factor + i * L::kPer),
                                             L::Register);
        return min(q, L::all(levels));
    }
};

// q = clip((x * y * multiplier + (2**shift >> 1)) >> shift, low, high) for the operands x and y in
// V = a + bias = x * 2**12 + y. No state.
template <class T>
struct Operands {
    Lanes<T> x, y;

    SNN_INLINE explicit Operands(const Lanes<T> &v)
        : x((v + Lanes<T>::all(2048)) >> 12), y(v - (x << 12)) {}
};

template <class T>
struct Product;

template <>
struct Product<int64_t> {
    using L = Lanes<int64_t>;
    L bias, multiplier, shift, half;
    int64_t limit, low, high;

    SNN_INLINE explicit Product(const Place &p)
        : bias(p.bias<int64_t>()),
          multiplier(L::at(p.parameters<int64_t>().multiplier.data() + p.lane)),
          shift(L::at(p.parameters<int64_t>().shift.data() + p.lane)),
          limit(p.population.given.limit),
          low(p.population.given.low),
          high(p.population.given.high) {
        for (int i = 0; i < L::kCount; ++i) half.r[i] = (L::all(1).r[i] << shift.r[i]) >> 1;
    }
    SNN_INLINE L answer(const L &a) const {
        const Operands<int64_t> v(clip(a + bias, limit));
        return max(min((v.x * v.y * multiplier + half) >> shift, L::all(high)), L::all(low));
    }
};

// The product of 22 and 12 bits is exact in a double, as it is with a shift of up to 32 and beside
// the 21 bits of `kUp`, which makes everything positive, so that truncation is a floor.
template <>
struct Product<int32_t> {
    using L = Lanes<int32_t>;
    using Double = Vector<double, L::kPer * 8>;
    static constexpr int32_t kUp = 1 << 20;  // beyond the largest payload
    L bias;
    const double *factor;
    int32_t limit, low, high;

    SNN_INLINE explicit Product(const Place &p)
        : bias(p.bias<int32_t>()),
          factor(p.population.factor.data() + p.lane),
          limit(int32_t(p.population.given.limit)),
          low(int32_t(p.population.given.low)),
          high(int32_t(p.population.given.high)) {}
    SNN_INLINE L answer(const L &a) const {
        const Operands<int32_t> v(clip(a + bias, limit));
        const L product = v.x * v.y;
        const Double end = Double{} + double(kUp);
        L q;
        for (int i = 0; i < L::kCount; ++i) {
            Double d =
                __builtin_convertvector(product.r[i], Double) * load<Double>(factor + i * L::kPer);
            d = d < end ? d : end;
            d = d > -end ? d : -end;
            q.r[i] = __builtin_convertvector(d + (end + 0.5), L::Register);
        }
        return max(min(q - L::all(kUp), L::all(high)), L::all(low));
    }
};

// q = clip((V * multiplier[k] + offset[k]) >> shift[k], low, high), V = a + bias, with k the number
// of breakpoints that V has reached. No state.
template <class T>
struct PiecewiseLinear {
    using L = Lanes<T>;
    L bias;
    T limit;
    int64_t low, high;
    size_t n_lines, n_lanes;
    const int64_t *begins, *lines;

    SNN_INLINE explicit PiecewiseLinear(const Place &p)
        : bias(p.bias<T>()),
          limit(T(p.population.given.limit)),
          low(p.population.given.low),
          high(p.population.given.high),
          n_lines(size_t(p.population.given.numbers[0])),
          n_lanes(p.population.lines.size() / (3 * n_lines)),
          begins(p.population.begins.data() + p.lane),
          lines(p.population.lines.data() + p.lane * n_lines * 3) {}
    SNN_INLINE L answer(const L &a) const {
        T v[kLanes];
        clip(a + bias, limit).to(v);
        size_t reached[kLanes] = {};
        for (size_t k = 0; k + 1 < n_lines; ++k)
            for (int i = 0; i < kLanes; ++i) reached[i] += v[i] >= begins[k * n_lanes + i];
        for (int i = 0; i < kLanes; ++i) {
            const int64_t *line = lines + (i * n_lines + reached[i]) * 3;
            const int64_t q = (int64_t(v[i]) * line[0] + line[1]) >> line[2];
            v[i] = T(std::min(std::max(q, low), high));
        }
        return L::at(v);
    }
};

}  // namespace snn
