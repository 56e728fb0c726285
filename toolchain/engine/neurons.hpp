// Neuron models: how 16 neurons answer their summed input at one step.
//
// Each model is one small struct: what it keeps in registers over the steps of a window, how these
// registers are set, loaded and put back between windows, and `step`. Those that keep no state have
// `answer` alone and stand in graded.hpp. The equations are those of snn_compile/ir/models. A new
// model is a new struct, its number, a line in `facts_of` and one in `with_model`; nothing else in
// the engine knows which models there are.
#pragma once

#include <stdexcept>
#include <string>

#include "graded.hpp"

namespace snn {

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
    SNN_INLINE void begin(const Place &p) { v = p.initial<T>(); }
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

// Changes of an activation that reach a threshold: A = max(S + bias, 0), clipped; of frames, A = a
// + bias. What is left waits.
struct ThresholdDelta {
    using L = Lanes<int64_t>;
    L sum, known, bias, threshold;
    int64_t limit;
    int shift;
    bool of_frames;

    SNN_INLINE explicit ThresholdDelta(const Place &p)
        : bias(p.bias<int64_t>()),
          threshold(L::at(p.parameters<int64_t>().threshold.data() + p.lane)),
          limit(p.population.given.limit),
          shift(p.population.given.numbers[0]),
          of_frames(p.population.given.numbers[1]) {}
    SNN_INLINE void begin(const Place &p) {
        sum = L::all(0);
        known = p.initial<int64_t>();
    }
    SNN_INLINE void get(const int64_t *state, size_t apart) {
        sum = L::at(state);
        known = L::at(state + apart);
    }
    SNN_INLINE void put(int64_t *state, size_t apart) const {
        sum.to(state);
        known.to(state + apart);
    }
    SNN_INLINE L step(const L &a) {
        sum = of_frames ? a : sum + a;
        const L active = of_frames ? sum + bias : max(sum + bias, L::all(0));
        const L change = clip(active, limit) - known, zero = L::all(0);
        const L small = zero_where(threshold > max(change, zero - change), change);
        known = known + small;
        return small >> shift;
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
// `numbers` of a population are: whether it resets to zero; both decays; how many lines; the bits
// that a message drops, and whether the input is a frame.
enum {
    kGraded = 2,
    kClipFloor = 3,
    kIf = 4,
    kSignedIf = 5,
    kCubaLif = 6,
    kReadout = 7,
    kPiecewiseLinear = 8,
    kProduct = 9,
    kThresholdDelta = 10
};

inline Facts facts_of(int kind) {
    Facts f;
    switch (kind) {
        case SNN_INPUT_SPIKES:
        case SNN_INPUT_VALUES:
        case kGraded:
        case kProduct:
        case kPiecewiseLinear:
        case kClipFloor:
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
        case kThresholdDelta:
            f.states = 2;
            f.wide = f.graded = true;
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
// model's own integers, `grade` what sends values, `change` what keeps some, `integrate` what sends
// nothing.
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
            return p.scale.empty() ? answer.template grade<Graded>()
                                   : answer.template grade<Scaled>();
        case kProduct:
            return answer.template grade<Product>();
        case kClipFloor:
            return p.scale.empty() ? answer.template grade<ClipFloor>()
                                   : answer.template grade<Scaled>();
        case kPiecewiseLinear:
            return answer.template grade<PiecewiseLinear>();
        case kThresholdDelta:
            return answer.template change<ThresholdDelta>();
        case kReadout:
            return answer.integrate();
    }
}

}  // namespace snn
