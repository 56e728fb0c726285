// One population during one window: sum its synapses, let its neurons answer.
#include <type_traits>

#include "neurons.hpp"
#include "workspace.hpp"

namespace snn {
namespace {

// Density from which dense products of spikes beat gathered rows, measured (tests/bench/engine.py).
#if defined(__AVX512VNNI__)
constexpr double kDenseAbove = 0.30;
#else
constexpr double kDenseAbove = 0.60;
#endif

// Sums of a tile stay in the second-level cache until the neurons take them.
constexpr int kTileBytes = 64 << 10;

SNN_INLINE int64_t shifted(int64_t sum, int exponent) {
    return exponent >= 0 ? sum * (int64_t(1) << exponent) : sum >> -exponent;
}

// ---- sums --------------------------------------------------------------------------------------

// Sums of the groups that cannot be computed pixel by pixel, into (steps, lanes) of the whole map.
void scatter(const Group &g, const Population &source, const Messages &m, int steps, int32_t *to) {
    const Shape &s = source.shape;
    const size_t lanes = g.out.lanes();
    std::vector<int32_t> sums(g.given.exponent ? lanes : 0);
    for (int t = 0; t < steps; ++t, to += lanes) {
        int32_t *into = g.given.exponent ? sums.data() : to;
        const int from_step = source.given.held ? 0 : t;
        std::fill(sums.begin(), sums.end(), 0);
        for (int y = 0; y < s.height; ++y)
            for (int x = 0; x < s.width; ++x)
                for (int c = 0; c < s.channels; ++c) {
                    const int64_t value = source.spikes() ? m.spike(s, from_step, y, x, c)
                                                          : m.value(s, from_step, y, x, c);
                    if (!value) continue;
                    const size_t lane = (size_t(y) * s.width + x) * s.padded + c;
                    for (int64_t k = g.column[lane]; k < g.column[lane + 1]; ++k)
                        into[g.target[k]] += int32_t(g.weight[k] * value);
                }
        for (size_t i = 0; i < sums.size(); ++i)
            to[i] += int32_t(shifted(sums[i], g.given.exponent));
    }
}

// Everything in 64 bits, synapse by synapse: for sums that are not proven to fit.
void sum_scalar(const Group &g, const Population &source, const Messages &m, int steps,
                int64_t *to) {
    const Shape &s = source.shape;
    const auto message = [&](int t, int y, int x, int c) -> int64_t {
        const int step = source.given.held ? 0 : t;
        return source.spikes() ? m.spike(s, step, y, x, c) : m.value(s, step, y, x, c);
    };
    const int per_group = s.channels / g.given.groups,
              out_per_group = g.out.channels / g.given.groups;
    for (int t = 0; t < steps; ++t)
        for (int o = 0; o < g.out.channels; ++o)
            for (int y = 0; y < g.out.height; ++y)
                for (int x = 0; x < g.out.width; ++x) {
                    int64_t sum = 0;
                    if (!g.indptr.empty()) {
                        const size_t row = (size_t(o) * g.out.height + y) * g.out.width + x;
                        for (int64_t k = g.indptr[row]; k < g.indptr[row + 1]; ++k) {
                            const int64_t j = g.indices[k], pixel = j % int64_t(s.pixels());
                            sum +=
                                g.weight[k] * message(t, int(pixel / s.width), int(pixel % s.width),
                                                      int(j / int64_t(s.pixels())));
                        }
                    } else {
                        const int8_t *w = g.weight.data() + size_t(o) * per_group * g.kh() * g.kw();
                        for (int i = 0; i < per_group; ++i)
                            for (int a = 0; a < g.kh(); ++a)
                                for (int b = 0; b < g.kw(); ++b, ++w) {
                                    const int yy = y * g.given.stride[0] - g.given.top +
                                                   a * g.given.dilation[0];
                                    const int xx = x * g.given.stride[1] - g.given.left +
                                                   b * g.given.dilation[1];
                                    if (yy < 0 || yy >= s.height || xx < 0 || xx >= s.width)
                                        continue;
                                    sum +=
                                        *w * message(t, yy, xx, o / out_per_group * per_group + i);
                                }
                    }
                    to[t * g.out.lanes() + (size_t(y) * g.out.width + x) * g.out.padded + o] +=
                        shifted(sum, g.given.exponent);
                }
}

// ---- answers -----------------------------------------------------------------------------------

// The sums of one stretch of lanes, and where they lie.
template <class A>
struct Stretch {
    const A *sums;
    size_t step;      // between steps; 0 where they are all the same
    int left, right;  // a shift that is still to be done
    int width;        // lanes

    template <class T>
    SNN_INLINE Lanes<T> at(int t, int lane) const {
        const Lanes<T> a = Lanes<T>::from(sums + t * step + lane);
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
        switch (p_.given.kind) {
            case SNN_IF:
                return fire(sums, y, x, c0);
            case SNN_CUBA_LIF:
                return spike<CubaLif>(sums, wide_, y, x, c0);
            case SNN_GRADED:
                return grade(sums, y, x, c0);
            case SNN_READOUT:
                return integrate(sums, y, x, c0);
        }
    }

  private:
    Place place(int y, int x, int c) const {
        return {p_, size_t(c), (size_t(y) * p_.shape.width + x) * p_.shape.padded + c};
    }

    template <class A>
    void fire(const Stretch<A> &sums, int y, int x, int c0) {
        const bool zero = p_.given.reset_to_zero, clips = p_.given.saturates;
        if constexpr (sizeof(A) == 8) {
            if (zero)
                spike<IntegrateAndFire<int64_t, true, true>>(sums, wide_, y, x, c0);
            else
                spike<IntegrateAndFire<int64_t, false, true>>(sums, wide_, y, x, c0);
        } else if (clips) {
            if (zero)
                spike<IntegrateAndFire<int32_t, true, true>>(sums, narrow_, y, x, c0);
            else
                spike<IntegrateAndFire<int32_t, false, true>>(sums, narrow_, y, x, c0);
        } else {
            if (zero)
                spike<IntegrateAndFire<int32_t, true, false>>(sums, narrow_, y, x, c0);
            else
                spike<IntegrateAndFire<int32_t, false, false>>(sums, narrow_, y, x, c0);
        }
    }

    template <class Model, class A, class State>
    void spike(const Stretch<A> &sums, State &state, int y, int x, int c0) {
        int c = 0;
        for (; c + 64 <= sums.width; c += 64) spike_lanes<Model, 4>(sums, state, y, x, c0, c);
        for (; c + 32 <= sums.width; c += 32) spike_lanes<Model, 2>(sums, state, y, x, c0, c);
        for (; c < sums.width; c += 16) spike_lanes<Model, 1>(sums, state, y, x, c0, c);
    }

    // N times 16 neurons: their independent chains of additions keep the processor busy.
    template <class Model, int N, class A, class State>
    void spike_lanes(const Stretch<A> &sums, State &state, int y, int x, int c0, int c) {
        const Shape &s = p_.shape;
        const size_t lanes = s.lanes();
        const Place at = place(y, x, c0 + c);
        const bool keeps = !state.empty();
        Model neurons[N];
        for (int j = 0; j < N; ++j) {
            const Place here{p_, at.lane + j * kLanes, at.neuron + j * kLanes};
            neurons[j].set(here);
            if (window_.first == 0)
                neurons[j].begin(here);
            else
                neurons[j].get(state.data() + here.neuron, lanes);
        }
        uint16_t *out = spikes_at(m_.map(s, 0), s, y, x, c0 + c);
        if (sums.left | sums.right)
            step_all<Model, N, true>(neurons, sums, c, window_.steps, out, s.words() * 4);
        else
            step_all<Model, N, false>(neurons, sums, c, window_.steps, out, s.words() * 4);
        if (keeps)
            for (int j = 0; j < N; ++j)
                neurons[j].put(state.data() + at.neuron + j * kLanes, lanes);
    }

    template <class Model, int N, bool Shifts, class A>
    static SNN_INLINE void step_all(Model *neurons, const Stretch<A> &sums, int c, int steps,
                                    uint16_t *out, size_t out_step) {
        using T = typename Model::Integer;
        const A *a = sums.sums + c;
        const size_t a_step = sums.step;
        const int left = sums.left, right = sums.right;
        Model here[N];
        for (int j = 0; j < N; ++j) here[j] = neurons[j];
        for (int t = 0; t < steps; ++t, a += a_step, out += out_step)
            for (int j = 0; j < N; ++j) {
                Lanes<T> sum = Lanes<T>::from(a + j * kLanes);
                if constexpr (Shifts) sum = (sum << left) >> right;
                out[j] = here[j].step(sum).bits();
            }
        for (int j = 0; j < N; ++j) neurons[j] = here[j];
    }

    template <class A>
    void grade(const Stretch<A> &sums, int y, int x, int c0) {
        using T = std::conditional_t<sizeof(A) == 8, int64_t, int32_t>;
        const Shape &s = p_.shape;
        const int steps = std::min(m_.steps, window_.steps);
        for (int c = 0; c < sums.width; c += kLanes) {
            const Place at = place(y, x, c0 + c);
            const Graded<T> neurons(at);
            for (int t = 0; t < steps; ++t) {
                const Lanes<T> q = neurons.answer(sums.template at<T>(t, c));
                for (int k = 0; k < m_.n_planes; ++k)
                    (q >> (8 * k)).low_bytes(m_.plane(s, k, t) + at.neuron);
            }
        }
    }

    template <class A>
    void integrate(const Stretch<A> &sums, int y, int x, int c0) {
        for (int c = 0; c < sums.width; c += kLanes) {
            const Place at = place(y, x, c0 + c);
            Integrator neurons(at);
            neurons.v = window_.first == 0 ? Lanes<int64_t>::all(0)
                                           : Lanes<int64_t>::at(wide_.data() + at.neuron);
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

// ---- one population ----------------------------------------------------------------------------

class Layer {
  public:
    Layer(const snn_network &network, int index, const Window &window, Workspace &work)
        : network_(network),
          p_(network.populations[index]),
          window_(window),
          work_(work),
          steps_(p_.given.held ? 1 : window.steps),
          lanes_(p_.fold > 1 ? p_.shape.padded : p_.block),
          columns_(p_.shape.width / p_.fold),
          tile_(std::max(1, std::min(kLargestTile, kTileBytes / (2 * steps_ * p_.block)))) {}

    void run(Neurons &neurons) {
        if (p_.given.wide) return run_wide(neurons);
        sort_groups();
        const int block = p_.block;
        work_.held.resize(size_t(p_.shape.width) * lanes_);
        const size_t room = size_t(tile_) * steps_ * block;
        work_.part.resize(std::max(room, work_.held.size()));
        work_.sums16.resize(room);
        work_.sums32.resize(room);
        for (int y = 0; y < p_.shape.height; ++y) {
            for (int i : stepping_) {
                GroupScratch &s = scratch(i);
                if (!s.by_events) continue;
                merge_rows(network_.groups[i], s.events, y, steps_, s.merged);
                order_items(network_.groups[i], s.merged, columns_, tile_, steps_, s.items);
            }
            for (int c0 = 0; c0 < p_.shape.padded; c0 += lanes_) run_block(neurons, y, c0);
        }
    }

  private:
    GroupScratch &scratch(int group) { return work_.groups[group]; }
    const Messages &messages(const Group &g) const { return work_.messages[g.given.source]; }
    const Population &source(const Group &g) const { return network_.populations[g.given.source]; }

    // Which groups bring the same at every step, and how each of the others is computed.
    void sort_groups() {
        bool cleared = false;
        for (int i : p_.groups) {
            const Group &g = network_.groups[i];
            if (g.kernel == Kernel::kSparse) {
                if (!cleared) work_.scattered.assign(steps_ * p_.shape.lanes(), 0);
                cleared = true;
                scatter(g, source(g), messages(g), steps_, work_.scattered.data());
                continue;
            }
            (source(g).given.held ? held_ : stepping_).push_back(i);
            lay_out_group(g, scratch(i));
        }
        sparse_ = cleared;
    }

    void lay_out_group(const Group &g, GroupScratch &to) {
        const bool spikes = source(g).spikes();
        const double above = window_.dense_above < 0 ? kDenseAbove : window_.dense_above;
        to.by_events = spikes && !g.rows.empty() && messages(g).density < above;
        const int steps = source(g).given.held ? 1 : window_.steps;
        if (to.by_events) return list_events(g, messages(g), steps, to.events);
        if (spikes && g.kernel == Kernel::kDepthwise) return;
        to.maps.resize(spikes ? 1 : messages(g).n_planes);
        for (size_t k = 0; k < to.maps.size(); ++k)
            lay_out(g, source(g), messages(g), int(k), steps, to.maps[k]);
    }

    // Products of `rows` rows, all planes together: (rows, to_row).
    void products(const Group &g, GroupScratch &from, size_t at, size_t row, int rows, int c0,
                  int32_t *to, size_t to_row) {
        for (size_t k = 0; k < from.maps.size(); ++k) {
            const Element *data = from.maps[k].data.data() + at;
            if (k) work_.plane.resize(size_t(rows) * lanes_);
            int32_t *into = k ? work_.plane.data() : to;
            const size_t into_row = k ? lanes_ : to_row;
            if (g.kernel == Kernel::kDepthwise)
                depthwise_products(g, data, row, rows, c0, lanes_, into, into_row);
            else
                dense_products(g, data, row, rows, c0, lanes_, into, into_row);
            if (!k) continue;
            for (int r = 0; r < rows; ++r)
                for (int c = 0; c < lanes_; ++c) {
                    int32_t &sum = to[r * to_row + c];
                    sum = int32_t(uint32_t(sum) + (uint32_t(into[r * into_row + c]) << (8 * k)));
                }
        }
        const int64_t zero = source(g).spikes() ? 0 : messages(g).zero;
        if (!zero) return;
        for (int r = 0; r < rows; ++r)
            for (int c = 0; c < lanes_; ++c) {
                int32_t &sum = to[r * to_row + c];
                sum = int32_t(uint32_t(sum) - uint32_t(zero) * uint32_t(g.sums[c0 + c]));
            }
    }

    size_t map_at(const Group &g, int y, int x) const {
        if (g.flat) return 0;
        return (size_t(y) * g.given.stride[0] * g.map_width() + size_t(x) * g.given.stride[1]) *
               g.map_channels;
    }

    // What is the same at every step, of all pixels of row y: (columns, lanes).
    void sum_held(int y, int c0) {
        const size_t n = size_t(p_.shape.width) * lanes_;
        if (held_.size() > 1) work_.part.resize(std::max(work_.part.size(), n));
        for (size_t i = 0; i < held_.size(); ++i) {
            const Group &g = network_.groups[held_[i]];
            int32_t *to = i ? work_.part.data() : work_.held.data();
            products(g, scratch(held_[i]), map_at(g, y, 0),
                     size_t(g.given.stride[1]) * g.map_channels, p_.shape.width, c0, to, lanes_);
            const int e = g.given.exponent;
            const int32_t *base = i ? work_.held.data() : nullptr;
            if (e || i)
                add_shifted(to, n, std::max(e, 0), std::max(-e, 0), base, work_.held.data());
        }
    }

    // Sums of one group for a tile from column x0 on, before its exponent: (tile, steps, block).
    template <class A>
    void sum_group(int i, int y, int x0, int n, int c0, A *to) {
        const Group &g = network_.groups[i];
        GroupScratch &from = scratch(i);
        if (from.by_events)
            return gather(g, from.merged, from.items.data() + size_t(x0) * steps_, c0 / lanes_, y,
                          x0, n, steps_, to);
        for (int k = 0; k < n * p_.fold; ++k) {
            const int x = x0 * p_.fold + k;
            A *into = to + size_t(k / p_.fold) * steps_ * p_.block + k % p_.fold * lanes_;
            if constexpr (sizeof(A) == 2)
                depthwise_spikes(g, messages(g), y, x, c0, lanes_, steps_, work_.taps, into,
                                 p_.block);
            else
                products(g, from, map_at(g, y, x), from.maps[0].step, steps_, c0, into, p_.block);
        }
    }

    // Whether a group's sums come out in 16 bits.
    bool in_16_bits(int i) {
        const Group &g = network_.groups[i];
        return source(g).spikes() && g.narrow &&
               (scratch(i).by_events || g.kernel == Kernel::kDepthwise);
    }

    // The channels c0.. of row y.
    void run_block(Neurons &neurons, int y, int c0) {
        const int block = p_.block;
        const size_t step = size_t(block), pixel = step * steps_;
        sum_held(y, c0);
        const bool only_held = stepping_.empty() && !sparse_;
        const bool direct =
            stepping_.size() == 1 && held_.empty() && !sparse_ && in_16_bits(stepping_[0]);
        for (int x0 = 0; x0 < columns_; x0 += tile_) {
            const int n = std::min(tile_, columns_ - x0);
            int left = 0, right = 0;
            if (direct) {
                const int e = network_.groups[stepping_[0]].given.exponent;
                left = std::max(e, 0), right = std::max(-e, 0);
                sum_group(stepping_[0], y, x0, n, c0, work_.sums16.data());
            } else if (!only_held) {
                join(y, x0, n, c0);
            }
            for (int k = 0; k < n; ++k) {
                const int x = (x0 + k) * p_.fold;
                const int32_t *held = work_.held.data() + size_t(x) * lanes_;
                if (only_held)
                    neurons.answer(Stretch<int32_t>{held, 0, 0, 0, block}, y, x, c0);
                else if (direct)
                    neurons.answer(
                        Stretch<int16_t>{work_.sums16.data() + k * pixel, step, left, right, block},
                        y, x, c0);
                else
                    neurons.answer(
                        Stretch<int32_t>{work_.sums32.data() + k * pixel, step, 0, 0, block}, y, x,
                        c0);
            }
        }
    }

    // The sums of all groups for a tile: (tile, steps, block).
    void join(int y, int x0, int n, int c0) {
        const size_t size = size_t(n) * steps_ * p_.block;
        int32_t *total = work_.sums32.data();
        const int32_t *base = nullptr;  // what the next group's sums are added to
        if (sparse_ || !held_.empty()) {
            for (int k = 0; k < n; ++k)
                begin_with(y, size_t(x0 + k) * p_.fold, c0, total + size_t(k) * steps_ * p_.block);
            base = total;
        }
        for (int i : stepping_) {
            const int e = network_.groups[i].given.exponent, left = std::max(e, 0),
                      right = std::max(-e, 0);
            if (in_16_bits(i)) {
                sum_group(i, y, x0, n, c0, work_.sums16.data());
                add_shifted(work_.sums16.data(), size, left, right, base, total);
            } else {
                sum_group(i, y, x0, n, c0, work_.part.data());
                add_shifted(work_.part.data(), size, left, right, base, total);
            }
            base = total;
        }
    }

    // What does not come pixel by pixel: (steps, block).
    void begin_with(int y, size_t column, int c0, int32_t *to) {
        const size_t at = (y * p_.shape.width + column) * p_.shape.padded + c0;
        for (int t = 0; t < steps_; ++t)
            for (int c = 0; c < p_.block; ++c) {
                int32_t sum = held_.empty() ? 0 : work_.held[column * lanes_ + c];
                if (sparse_) sum += work_.scattered[t * p_.shape.lanes() + at + c];
                to[size_t(t) * p_.block + c] = sum;
            }
    }

    // Sums with their exponent, added to others if there are any.
    template <class A>
    static void add_shifted(const A *from, size_t n, int left, int right, const int32_t *base,
                            int32_t *to) {
        for (size_t k = 0; k < n; k += kLanes) {
            Lanes<int32_t> sum = (Lanes<int32_t>::from(from + k) << left) >> right;
            if (base) sum = sum + Lanes<int32_t>::at(base + k);
            sum.to(to + k);
        }
    }

    void run_wide(Neurons &neurons) {
        const Shape &s = p_.shape;
        work_.scalar.assign(steps_ * s.lanes(), 0);
        for (int i : p_.groups) {
            const Group &g = network_.groups[i];
            sum_scalar(g, source(g), messages(g), steps_, work_.scalar.data());
        }
        for (int y = 0; y < s.height; ++y)
            for (int x = 0; x < s.width; ++x) {
                const int64_t *sums = work_.scalar.data() + (size_t(y) * s.width + x) * s.padded;
                neurons.answer(Stretch<int64_t>{sums, s.lanes(), 0, 0, s.padded}, y, x, 0);
            }
    }

    const snn_network &network_;
    const Population &p_;
    const Window &window_;
    Workspace &work_;
    const int steps_;
    const int lanes_;    // of a pixel in a block
    const int columns_;  // of blocks in a row
    const int tile_;     // blocks of a row that are summed before their neurons answer
    std::vector<int> held_, stepping_;
    bool sparse_ = false;
};

// Adds the spikes of each lane, over all steps of the window. Counts of up to 63 are kept in six
// words, one for each binary digit, for 64 lanes at once (a ripple-carry counter of bits).
void count_spikes(const Shape &s, const Messages &m, int steps, uint32_t *counts) {
    static_assert(kWindow < 64, "counts of six digits");
    const size_t words = s.row_words(), halves = size_t(s.width) * s.padded / 16;
    Array<uint64_t> digits(6 * words);
    for (int y = 0; y < s.height; ++y) {
        std::fill(digits.begin(), digits.end(), 0);
        for (int t = 0; t < steps; ++t) {
            const uint64_t *row = m.map(s, t) + y * words;
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

void count_values(const Shape &s, const Messages &m, int steps, uint32_t *counts) {
    const size_t n = s.lanes();
    for (int t = 0; t < steps; ++t) {
        if (m.n_planes == 1) {
            const uint8_t *plane = m.plane(s, 0, t), zero = uint8_t(m.zero);
            for (size_t i = 0; i < n; ++i) counts[i] += plane[i] != zero;
            continue;
        }
        for (size_t i = 0; i < n; ++i) {
            bool differs = false;
            for (int k = 0; k < m.n_planes; ++k)
                differs |= m.plane(s, k, t)[i] != uint8_t(m.zero >> (8 * k));
            counts[i] += differs;
        }
    }
}

// Messages other than 0 of each lane, added to `counts`; the share of neurons that fired.
void count(const Population &p, Messages &m, int steps, bool counting, Array<uint32_t> &counts) {
    const Shape &s = p.shape;
    if (p.spikes()) {
        m.n_spikes = 0;
        for (size_t i = 0; i < steps * s.words(); ++i)
            m.n_spikes += __builtin_popcountll(m.bits[i]);
        m.density = double(m.n_spikes) / (double(steps) * double(s.neurons()));
    }
    if (!counting) return;
    if (p.spikes())
        count_spikes(s, m, steps, counts.data());
    else
        count_values(s, m, steps, counts.data());
}

}  // namespace

void advance(const snn_network &network, int index, const Window &window, bool trace,
             Workspace &work) {
    const Population &p = network.populations[index];
    const int steps = p.given.held ? 1 : window.steps;
    if (!p.input()) {
        Neurons neurons(network, index, window, work);
        if (trace && p.readout()) {
            work.potentials.resize(size_t(window.steps) * p.shape.lanes());
            neurons.trace(true);
        }
        Layer(network, index, window, work).run(neurons);
    }
    if (!p.readout()) count(p, work.messages[index], steps, window.counting, work.counts[index]);
}

}  // namespace snn
