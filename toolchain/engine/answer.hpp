// The neurons of a population answer their sums, a stretch of lanes at a time, for all steps of the
// window.
#pragma once

#include <type_traits>

#include "neurons.hpp"
#include "workspace.hpp"

namespace snn {

// The sums of one stretch of lanes, and where they lie.
template <class A>
struct Stretch {
    const A *sums;
    size_t step;      // between steps; 0 where they are all the same
    int left, right;  // a shift that is still to be done
    int width;        // lanes
    // Neighbouring pixels that have the same parameters, and how far their sums and their neurons
    // are apart.
    int pixels = 1;
    size_t apart = 0, lanes_apart = 0;
    // Weights that are still to be added where a bit is set, if there are any (`Group::tap`): of
    // these lanes, and their bits, `bits_apart` between steps.
    const int32_t *tap = nullptr;
    const uint16_t *bits = nullptr;
    size_t bits_apart = 0;

    template <class T>
    SNN_INLINE Lanes<T> at(int t, int lane, int pixel = 0) const {
        const Lanes<T> a = Lanes<T>::from(sums + pixel * apart + t * step + lane);
        return left | right ? (a << left) >> right : a;
    }
};

class Neurons {
  public:
    Neurons(const snn_network &network, int index, const Window &window, Workspace &work)
        : p_(network.populations[index]),
          window_(window),
          m_(work.messages[index]),
          narrow_(work.narrow[index]),
          wide_(work.wide[index]),
          potentials_(work.potentials),
          trace_(false) {}

    void trace(bool on) { trace_ = on; }

    // Lanes c0.. of the pixel (y, x) answer, for all steps of the window.
    template <class A>
    void answer(const Stretch<A> &sums, int y, int x, int c0) {
        with_model(p_, At<A>{*this, sums, y, x, c0});
    }

    // Lanes c0.. of the pixels x0.. of row y answer, `n` units of computation whose sums are
    // `apart`.
    template <class A>
    void answer_row(Stretch<A> sums, int n, size_t apart, int y, int x0, int c0) {
        const bool alike = p_.values() && !p_.facts.states && !p_.given.bias_per_neuron;
        if (alike) {
            sums.pixels = n;
            sums.apart = apart;
            sums.lanes_apart = size_t(p_.fold) * p_.shape.padded;
            return answer(sums, y, x0, c0);
        }
        for (int k = 0; k < n; ++k, sums.sums += apart) answer(sums, y, x0 + k * p_.fold, c0);
    }

  private:
    // A stretch of lanes that waits for the model with which to answer it.
    template <class A>
    struct At {
        Neurons &neurons;
        const Stretch<A> &sums;
        int y, x, c0;

        template <template <class, bool> class Model>
        void fire() const {
            neurons.fire<Model>(sums, y, x, c0);
        }
        template <class Model>
        void spike() const {
            neurons.spike<Model>(sums, neurons.wide_, y, x, c0);
        }
        template <template <class> class Model>
        void grade() const {
            neurons.grade<Model>(sums, y, x, c0);
        }
        template <class Model>
        void change() const {
            neurons.change<Model>(sums, y, x, c0);
        }
        void integrate() const { neurons.integrate(sums, y, x, c0); }
    };

    Place place(int y, int x, int c) const {
        return {p_, size_t(c), (size_t(y) * p_.shape.width + x) * p_.shape.padded + c};
    }

    template <template <class, bool> class Model, class A>
    void fire(const Stretch<A> &sums, int y, int x, int c0) {
        if constexpr (sizeof(A) == 8)
            spike<Model<int64_t, true>>(sums, wide_, y, x, c0);
        else if (p_.given.saturates)
            spike<Model<int32_t, true>>(sums, narrow_, y, x, c0);
        else
            spike<Model<int32_t, false>>(sums, narrow_, y, x, c0);
    }

    template <class Model, class A, class State>
    void spike(const Stretch<A> &sums, State &state, int y, int x, int c0) {
        if constexpr (sizeof(A) == 2 && sizeof(typename Model::Integer) == 4)
            if (sums.tap) return spike_stretch<Model, true, true>(sums, state, y, x, c0);
        if (sums.left | sums.right)
            spike_stretch<Model, true, false>(sums, state, y, x, c0);
        else
            spike_stretch<Model, false, false>(sums, state, y, x, c0);
    }

    template <class Model, bool Shifts, bool Taps, class A, class State>
    void spike_stretch(const Stretch<A> &sums, State &state, int y, int x, int c0) {
        // As many as leave room for their potentials in the registers.
        int c = 0;
        if constexpr (kBytes >= 64)
            for (; c + 64 <= sums.width; c += 64)
                spike_lanes<Model, 4, Shifts, Taps>(sums, state, y, x, c0, c);
        if constexpr (kBytes >= 32)
            for (; c + 32 <= sums.width; c += 32)
                spike_lanes<Model, 2, Shifts, Taps>(sums, state, y, x, c0, c);
        for (; c < sums.width; c += 16)
            spike_lanes<Model, 1, Shifts, Taps>(sums, state, y, x, c0, c);
    }

    // Where spikes go, 16 bits for 16 neurons: how far the next step is, and the negative ones.
    struct Output {
        uint16_t *spikes;
        size_t step, negative;

        template <class T>
        SNN_INLINE void put(int j, const Mask<T> &fired) const {
            spikes[j] = fired.bits();
        }
        template <class T>
        SNN_INLINE void put(int j, const SignedSpikes<T> &fired) const {
            spikes[j] = fired.up.bits();
            spikes[negative + j] = fired.down.bits();
        }
    };

    // N times 16 neurons: their independent chains of additions keep the processor busy.
    template <class Model, int N, bool Shifts, bool Taps, class A, class State>
    void spike_lanes(const Stretch<A> &sums, State &state, int y, int x, int c0, int c) {
        using T = typename Model::Integer;
        const Shape &s = p_.shape;
        const size_t lanes = s.lanes();
        const Place at = place(y, x, c0 + c);
        const bool keeps = !state.empty(), begins = window_.first == 0;
        Model neurons[N];
#pragma GCC unroll 4
        for (int j = 0; j < N; ++j) {
            const Place here{p_, at.lane + j * kLanes, at.neuron + j * kLanes};
            neurons[j].set(here);
            if (begins)
                neurons[j].begin(here);
            else
                neurons[j].get(state.data() + here.neuron, lanes);
        }
        Output out{spikes_at(m_.map(s, 0), s, y, x, c0 + c), m_.step_words(s) * 4, s.words() * 4};
        const A *a = sums.sums + c;
        const size_t a_step = sums.step;
        const int left = sums.left, right = sums.right, steps = window_.steps;
        const uint16_t *bits = Taps ? sums.bits + c / kLanes : nullptr;
        const size_t apart = sums.bits_apart;
        for (int t = 0; t < steps; ++t, a += a_step, bits += apart, out.spikes += out.step)
#pragma GCC unroll 4
            for (int j = 0; j < N; ++j) {
                Lanes<T> sum = Lanes<T>::from(a + j * kLanes);
                if constexpr (Shifts) sum = (sum << left) >> right;
                if constexpr (Taps)
                    sum = add_where(bits[j], Lanes<T>::at(sums.tap + c + j * kLanes), sum);
                out.put(j, neurons[j].step(sum));
            }
        if (keeps)
#pragma GCC unroll 4
            for (int j = 0; j < N; ++j)
                neurons[j].put(state.data() + at.neuron + j * kLanes, lanes);
    }

    template <template <class> class Model, class A>
    void grade(const Stretch<A> sums, int y, int x, int c0) {  // a copy: bytes may alias anything
        using T = std::conditional_t<sizeof(A) == 8, int64_t, int32_t>;
        const Shape &s = p_.shape;
        const int steps = std::min(m_.steps, window_.steps);
        const Lanes<T> zero = Lanes<T>::all(T(m_.zero));  // messages are stored as 0 and above
        const size_t plane = size_t(m_.steps) * s.lanes();
        const int n_planes = m_.n_planes;
        for (int c = 0; c < sums.width; c += kLanes) {
            const Place at = place(y, x, c0 + c);
            const Model<T> neurons(at);
            for (int t = 0; t < steps; ++t) {
                uint8_t *to = m_.plane(s, 0, t) + at.neuron;
                for (int i = 0; i < sums.pixels; ++i, to += sums.lanes_apart) {
                    const Lanes<T> q = neurons.answer(sums.template at<T>(t, c, i)) + zero;
                    q.low_bytes(to);
                    for (int k = 1; k < n_planes; ++k) (q >> (8 * k)).low_bytes(to + k * plane);
                }
            }
        }
    }

    // As `grade`, by neurons that keep registers.
    template <class Model, class A>
    void change(const Stretch<A> &sums, int y, int x, int c0) {
        const Shape &s = p_.shape;
        const Lanes<int64_t> zero = Lanes<int64_t>::all(m_.zero);
        for (int c = 0; c < sums.width; c += kLanes) {
            const Place at = place(y, x, c0 + c);
            Model neurons(at);
            if (window_.first == 0)
                neurons.begin(at);
            else
                neurons.get(wide_.data() + at.neuron, s.lanes());
            for (int t = 0; t < window_.steps; ++t) {
                const Lanes<int64_t> sent = neurons.step(sums.template at<int64_t>(t, c)) + zero;
                for (int k = 0; k < m_.n_planes; ++k)
                    (sent >> (8 * k)).low_bytes(m_.plane(s, k, t) + at.neuron);
            }
            if (!wide_.empty()) neurons.put(wide_.data() + at.neuron, s.lanes());
        }
    }

    template <class A>
    void integrate(const Stretch<A> &sums, int y, int x, int c0) {
        for (int c = 0; c < sums.width; c += kLanes) {
            const Place at = place(y, x, c0 + c);
            Integrator neurons(at);
            if (window_.first != 0)
                neurons.v = Lanes<int64_t>::at(wide_.data() + at.neuron);
            else
                neurons.v =
                    p_.wide.initial.empty() ? Lanes<int64_t>::all(0) : at.initial<int64_t>();
            for (int t = 0; t < window_.steps; ++t) {
                neurons.step(sums.template at<int64_t>(t, c));
                if (trace_) neurons.v.to(potentials_.data() + t * p_.shape.lanes() + at.neuron);
            }
            neurons.v.to(wide_.data() + at.neuron);
        }
    }

    const Population &p_;
    const Window &window_;
    Messages &m_;
    Array<int32_t> &narrow_;
    Array<int64_t> &wide_;
    Array<int64_t> &potentials_;
    bool trace_;
};

}  // namespace snn
