// Neuron models: how 16 neurons answer their summed input at one step.
//
// Each model is one small struct: what it keeps in registers over the steps of a window, how these
// registers are set, loaded and put back between windows, and `step`. The equations are those of
// snn_compile/ir/models. A new model is a new struct here, its number, a line in `facts_of` and one
// in `with_model`; nothing else in the engine knows which models there are.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>

#include "network.hpp"

namespace snn {

// What the 16 lanes at hand need to find their parameters: lane of the pixel, and of the map.
struct Place {
    const Population &population;
    size_t lane;
    size_t neuron;  // lane of the whole map; where per-neuron state lies

    template <class T>
    const Parameters<T> &parameters() const {
        if constexpr (sizeof(T) == 4)
            return population.narrow;
        else
            return population.wide;
    }
    template <class T>
    Lanes<T> bias() const {
        return Lanes<T>::at(parameters<T>().bias.data() +
                            (population.given.bias_per_neuron ? neuron : lane));
    }
    template <class T>
    Lanes<T> initial() const {
        return Lanes<T>::at(parameters<T>().initial.data() +
                            (population.given.initial_per_neuron ? neuron : lane));
    }
};

template <class T>
SNN_INLINE Lanes<T> clip(const Lanes<T> &v, T limit) {
    return max(min(v, Lanes<T>::all(limit)), Lanes<T>::all(-limit));
}

// Integrate and fire: V += a + bias; spike where V >= threshold.
template <class T, bool ResetToZero, bool Saturates>
struct IntegrateAndFire {
    using Integer = T;
    Lanes<T> v, bias, threshold, below;  // the largest potential that is below the threshold
    T limit;

    SNN_INLINE void set(const Place &p) {
        bias = p.bias<T>();
        threshold = Lanes<T>::at(p.parameters<T>().threshold.data() + p.lane);
        below = threshold - Lanes<T>::all(1);
        limit = T(p.population.given.limit);
    }
    SNN_INLINE void begin(const Place &p) {
        v = p.initial<T>();
    }
    SNN_INLINE void get(const T *state, size_t) { v = Lanes<T>::at(state); }
    SNN_INLINE void put(T *state, size_t) const { v.to(state); }
    SNN_INLINE Mask<T> step(const Lanes<T> &a) {
        v = v + (a + bias);
        if constexpr (Saturates) v = clip(v, limit);
        const Mask<T> fired = v > below;  // AVX2 has no comparison with "or equal"
        v = ResetToZero ? zero_where(fired, v) : subtract_where(fired, v, threshold);
        return fired;
    }
};

// Spikes of both signs.
template <class T>
struct SignedSpikes {
    Mask<T> up, down;
};

// Integrate and fire with spikes that take back earlier ones: 1 where V >= threshold, -1 where V <
// 0 and n > 0, the sum of the spikes so far.
template <class T, bool Saturates>
struct SignedIntegrateAndFire {
    using Integer = T;
    Lanes<T> v, n, bias, threshold;
    T limit;

    SNN_INLINE void set(const Place &p) {
        bias = p.bias<T>();
        threshold = Lanes<T>::at(p.parameters<T>().threshold.data() + p.lane);
        limit = T(p.population.given.limit);
    }
    SNN_INLINE void begin(const Place &p) {
        v = p.initial<T>();
        n = Lanes<T>::all(0);
    }
    SNN_INLINE void get(const T *state, size_t apart) {
        v = Lanes<T>::at(state);
        n = Lanes<T>::at(state + apart);
    }
    SNN_INLINE void put(T *state, size_t apart) const {
        v.to(state);
        n.to(state + apart);
    }
    SNN_INLINE SignedSpikes<T> step(const Lanes<T> &a) {
        const Lanes<T> zero = Lanes<T>::all(0), one = Lanes<T>::all(1);
        v = v + (a + bias);
        if constexpr (Saturates) v = clip(v, limit);
        const Mask<T> up = v >= threshold, down = (zero > v) & (n > zero);
        v = subtract_where(up, v, threshold);
        v = subtract_where(down, v, zero - threshold);
        n = subtract_where(up, n, zero - one);
        n = subtract_where(down, n, one);
        return {up, down};
    }
};

// Loihi's leaky neuron as Lava computes it: decays of 12 bits, truncated toward zero; the current
// wraps once at 24 bits, the potential saturates; reset to zero; the comparison is strict.
struct CubaLif {
    using Integer = int64_t;
    using L = Lanes<int64_t>;
    L u, v, bias, threshold, keep_u, keep_v;
    int64_t limit;

    SNN_INLINE void set(const Place &p) {
        bias = p.bias<int64_t>();
        threshold = L::at(p.parameters<int64_t>().threshold.data() + p.lane) << 6;
        keep_u = L::all(4096 - (p.population.given.numbers[0] + 1));  // ds_offset is 1 in Lava
        keep_v = L::all(4096 - p.population.given.numbers[1]);
        limit = p.population.given.limit;
    }
    SNN_INLINE void begin(const Place &) { u = v = L::all(0); }
    SNN_INLINE void get(const int64_t *state, size_t apart) {
        u = L::at(state);
        v = L::at(state + apart);
    }
    SNN_INLINE void put(int64_t *state, size_t apart) const {
        u.to(state);
        v.to(state + apart);
    }
    // x / 4096 toward zero: an arithmetic shift floors, so negative numbers get 4095 more first.
    static SNN_INLINE L toward_zero(const L &x) {
        L y;
        for (int i = 0; i < L::kCount; ++i) y.r[i] = (x.r[i] + ((x.r[i] >> 63) & 4095)) >> 12;
        return y;
    }
    SNN_INLINE Mask<int64_t> step(const L &a) {
        u = toward_zero(u * keep_u) + (a << 6);
        const L top = L::all(int64_t(1) << 23), bottom = L::all(-(int64_t(1) << 23)),
                turn = L::all(int64_t(1) << 24);
        u = subtract_where(u > top, u, turn);
        u = subtract_where(bottom >= u, u, L::all(-(int64_t(1) << 24)));
        v = clip(toward_zero(v * keep_v) + u + bias, limit);
        const Mask<int64_t> fired = v > threshold;
        v = zero_where(fired, v);
        return fired;
    }
};

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

// Processors divide doubles faster than integers. A quotient below an integer k is below it by at
// least 1 / threshold, which is k / (V + threshold) or more, and V + threshold is less than 2**30:
// rounding to 53 bits does not reach k.
template <>
struct ClipFloor<int32_t> {
    using L = Lanes<int32_t>;
    using Double = Vector<double, L::kPer * 8>;
    L bias, threshold;
    int32_t limit, levels;

    SNN_INLINE explicit ClipFloor(const Place &p)
        : bias(p.bias<int32_t>()),
          threshold(L::at(p.parameters<int32_t>().threshold.data() + p.lane)),
          limit(int32_t(p.population.given.limit)),
          levels(int32_t(p.population.given.high)) {}
    SNN_INLINE L answer(const L &a) const {
        const L v = max(min(a + bias, L::all(limit)), L::all(0));
        L q;
        for (int i = 0; i < L::kCount; ++i)
            q.r[i] = __builtin_convertvector(__builtin_convertvector(v.r[i], Double) /
                                                 __builtin_convertvector(threshold.r[i], Double),
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
            Double d = __builtin_convertvector(product.r[i], Double) *
                       load<Double>(factor + i * L::kPer);
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

// V += a + bias; the potential is the output.
struct Integrator {
    using Integer = int64_t;
    using L = Lanes<int64_t>;
    L v, bias;
    int64_t limit;

    SNN_INLINE explicit Integrator(const Place &p)
        : bias(p.bias<int64_t>()), limit(p.population.given.limit) {}
    SNN_INLINE void step(const L &a) { v = clip(v + a + bias, limit); }
};

template <class T, bool Saturates>
using ResetsToZero = IntegrateAndFire<T, true, Saturates>;
template <class T, bool Saturates>
using Subtracts = IntegrateAndFire<T, false, Saturates>;

// Their numbers. Each is that of an `EngineForm` in snn_compile/ir/models, which also says what
// `numbers` of a population are: whether it resets to zero; both decays; how many lines.
enum {
    kGraded = 2,
    kClipFloor = 3,
    kIf = 4,
    kSignedIf = 5,
    kCubaLif = 6,
    kReadout = 7,
    kPiecewiseLinear = 8,
    kProduct = 9
};

inline Facts facts_of(int kind) {
    Facts f;
    switch (kind) {
        case SNN_INPUT_SPIKES:
        case SNN_INPUT_VALUES:
        case kGraded:
        case kProduct:
        case kPiecewiseLinear:
            break;
        case kClipFloor:
            f.counted = true;
            break;
        case kIf:
            f.states = 1;
            break;
        case kSignedIf:
            f.states = 2;
            break;
        case kCubaLif:
            f.states = 2;
            f.wide = true;
            break;
        case kReadout:
            f.wide = f.readout = true;
            break;
        default:
            throw std::invalid_argument("no neuron model " + std::to_string(kind));
    }
    return f;
}

// Has `answer` compute with the model of a population: `fire` in 32 or 64 bits, `spike` in the
// model's own integers, `grade` what sends values, `integrate` what sends nothing.
template <class Answer>
SNN_INLINE void with_model(const Population &p, const Answer &answer) {
    switch (p.given.kind) {
        case kIf:
            return p.given.numbers[0] ? answer.template fire<ResetsToZero>()
                                      : answer.template fire<Subtracts>();
        case kSignedIf:
            return answer.template fire<SignedIntegrateAndFire>();
        case kCubaLif:
            return answer.template spike<CubaLif>();
        case kGraded:
            return answer.template grade<Graded>();
        case kProduct:
            return answer.template grade<Product>();
        case kClipFloor:
            return answer.template grade<ClipFloor>();
        case kPiecewiseLinear:
            return answer.template grade<PiecewiseLinear>();
        case kReadout:
            return answer.integrate();
    }
}

}  // namespace snn
