// From the caller's description of a network to populations whose neurons are laid out in lanes.
#include <algorithm>
#include <cmath>

#include "neurons.hpp"
#include "weights.hpp"

namespace snn {
namespace {

// The largest block of lanes that this build keeps in registers while it gathers.
constexpr int kLargestBlock = kBytes * 4;

// A parameter of each channel in the engine's order, for `pixels` pixels, with `empty` in padded
// lanes.
template <class T>
Array<T> arranged(const int64_t *values, const Shape &s, size_t pixels, int64_t empty,
                  bool per_neuron = false) {
    Array<T> to;
    if (!values) return to;
    to.assign(pixels * s.padded, T(empty));
    for (size_t i = 0; i < pixels; ++i)
        for (int c = 0; c < s.channels; ++c)
            to[i * s.padded + c] = T(values[per_neuron ? c * pixels + i : size_t(c)]);
    return to;
}

template <class T>
void arrange(const snn_population &p, const Shape &s, size_t copies, Parameters<T> &to) {
    to.bias = p.bias_per_neuron ? arranged<T>(p.bias, s, s.pixels(), 0, true)
                                : arranged<T>(p.bias, s, copies, 0);
    to.initial = p.initial_per_neuron ? arranged<T>(p.initial, s, s.pixels(), 0, true)
                                      : arranged<T>(p.initial, s, copies, 0);
    to.threshold = arranged<T>(p.threshold, s, copies, int64_t(1) << 29);  // padding never fires
    to.multiplier = arranged<T>(p.multiplier, s, copies, 0);
    to.shift = arranged<T>(p.shift, s, copies, 0);
}

// The table of lines in the engine's order, for `copies` pixels.
void arrange_lines(const snn_population &given, const Shape &s, size_t copies, Population &to) {
    const size_t n = size_t(given.numbers[0]), lanes = copies * s.padded;
    to.begins.assign((n - 1) * lanes, 0);
    to.lines.assign(lanes * n * 3, 0);
    for (size_t lane = 0; lane < lanes; ++lane) {
        const size_t c = lane % s.padded;
        if (c >= size_t(s.channels)) continue;  // padding sends 0
        for (size_t k = 0; k < n; ++k) {
            const int64_t *line = given.table + (c * n + k) * 4;
            if (k) to.begins[(k - 1) * lanes + lane] = line[0];
            std::copy(line + 1, line + 4, &to.lines[(lane * n + k) * 3]);
        }
    }
}

// Pixels whose channels share a register, where a row divides into such groups.
int folded(const Shape &s) {
    int fold = s.padded < 64 ? 64 / s.padded : 1;
    while (s.width % fold) fold /= 2;
    return fold;
}

// The largest power of two that this build keeps in registers and that divides the channels.
int block_of(const Shape &s) {
    int block = kLargestBlock;
    while (s.padded % block) block /= 2;
    return block;
}

// The factor 2**(32 + shift) * numerator / denominator, rounded up: `true` if the upper 32 bits of
// its products, shifted right, are the floor of every V * numerator / denominator with V up to
// `most`.
//
// The fraction of a quotient is at most 1 - 1 / denominator. What rounding adds to V times the
// factor has to be less than a denominator's part of 2**(32 + shift).
bool factor_of(uint64_t numerator, uint64_t denominator, uint64_t most, int shift, uint32_t &to) {
    if (most * numerator < denominator) return to = 0, true;
    const int common = __builtin_ctzll(numerator | denominator);
    numerator >>= common, denominator >>= common;
    const int up = 32 + shift;
    if (up + 64 - __builtin_clzll(numerator) > 63) return false;
    const uint64_t exact = numerator << up, factor = (exact + denominator - 1) / denominator;
    const uint64_t excess = factor * denominator - exact;  // below the denominator
    if (factor >> 32 || (excess && most > ((uint64_t(1) << up) - 1) / excess)) return false;
    to = uint32_t(factor);
    return true;
}

// One product instead of two in double precision, if there is a shift with which it is exact in all
// channels.
void scale(const snn_population &given, Population &p) {
    const bool divides = given.kind == kClipFloor;
    const Parameters<int32_t> &own = p.narrow;
    if ((!divides && given.kind != kGraded) || !p.narrow_state() || given.low || given.limit <= 0)
        return;
    const size_t n = divides ? own.threshold.size() : own.multiplier.size();
    Array<uint32_t> factors(n);
    for (int shift = 0; shift <= 20; ++shift) {
        bool exact = true;
        for (size_t i = 0; exact && i < n; ++i) {
            if (int(i % p.shape.padded) >= p.shape.channels) continue;  // padding sends 0
            const uint64_t numerator = divides ? 1 : uint64_t(own.multiplier[i]);
            const uint64_t denominator =
                divides ? uint64_t(own.threshold[i]) : uint64_t(1) << own.shift[i];
            // Larger potentials send the largest value, with a factor that is rounded up as well.
            const uint64_t enough = numerator ? (given.high + 1) * denominator / numerator + 1 : 1;
            const uint64_t most = std::min(uint64_t(given.limit), enough);
            exact = factor_of(numerator, denominator, most, shift, factors[i]);
        }
        if (!exact) continue;
        p.scale = std::move(factors);
        p.scale_shift = shift;
        return;
    }
}

Population population(const snn_population &given) {
    Population p;
    p.given = given;
    p.facts = facts_of(given.kind);
    p.shape = Shape(given.channels, given.height, given.width);
    p.fold = folded(p.shape);
    p.block = p.fold > 1 ? p.fold * p.shape.padded : block_of(p.shape);
    if (!p.input()) {
        const int copies = given.wide ? 1 : p.fold;
        if (p.narrow_state())
            arrange(given, p.shape, copies, p.narrow);
        else
            arrange(given, p.shape, copies, p.wide);
        if (given.table) arrange_lines(given, p.shape, copies, p);
        for (size_t i = 0; i < p.narrow.multiplier.size(); ++i) {
            const double factor = std::ldexp(p.narrow.multiplier[i], -p.narrow.shift[i]);
            const double enough = factor > 0 ? double(given.high + 1) / factor + 1 : given.limit;
            p.factor.push_back(factor);
            p.cap.push_back(int32_t(std::min(enough, double(given.limit))));
        }
        scale(given, p);
        if (given.kind == kClipFloor)
            for (const int32_t threshold : p.narrow.threshold) p.factor.push_back(1.0 / threshold);
    }
    if (p.values())
        for (int64_t span = given.high - std::min<int64_t>(given.low, 0); span > 0; span >>= 8)
            ++p.planes;
    if (p.values() && !p.planes) p.planes = 1;
    if (p.spikes() && given.low < 0) p.signs = 2;
    p.given.bias = p.given.threshold = p.given.initial = nullptr;
    p.given.multiplier = p.given.shift = p.given.table = nullptr;
    return p;
}

// Whether a population sends what another one does, message for message: every weight is 1, and
// nothing is added, scaled or clipped.
bool sends_again(const Population &source, const Population &target, const snn_synapses &g,
                 const snn_population &given) {
    const Shape &in = source.shape, &out = target.shape;
    if (target.given.wide || g.indptr || g.exponent || g.top || g.left ||
        g.groups != out.channels || g.kernel[0] * g.kernel[1] * g.stride[0] * g.stride[1] != 1 ||
        in.channels != out.channels || in.height != out.height || in.width != out.width)
        return false;
    if (!source.values() || source.given.low < 0 || source.planes != target.planes ||
        source.given.high > std::min(given.high, given.limit))
        return false;
    const size_t n_biases = given.bias_per_neuron ? out.neurons() : size_t(out.channels);
    for (size_t i = 0; i < n_biases; ++i)
        if (given.bias[i]) return false;
    for (int c = 0; c < out.channels; ++c) {
        const bool same = given.kind == kGraded
                              ? given.multiplier[c] == int64_t(1) << given.shift[c]
                          : given.kind == kClipFloor ? given.threshold[c] == 1
                                                     : false;
        if (!same || g.weight[c] != 1) return false;
    }
    return true;
}

// Whether each spike lifts a potential that is below the threshold by just the threshold, so that
// the neuron fires and is left as it was.
bool relays(const snn_network &network, const snn_population &given, const Population &p) {
    if (given.kind != kIf || given.wide || given.numbers[0] || p.groups.size() != 1) return false;
    const Group &g = network.groups[p.groups[0]];
    if (!g.in_place()) return false;
    const Parameters<int32_t> &own = p.narrow;
    for (int c = 0; c < p.shape.channels; ++c)
        if (own.threshold[c] <= 0 || g.tap[c] != own.threshold[c]) return false;
    for (int32_t bias : own.bias)
        if (bias) return false;
    for (size_t i = 0; i < own.initial.size(); ++i) {
        const int c = int(i % p.shape.padded);
        if (c < p.shape.channels && (own.initial[i] < 0 || own.initial[i] >= own.threshold[c]))
            return false;
    }
    // Were it to be clipped, it might not be left as it was.
    return !given.saturates;
}

}  // namespace

void prepare(snn_network &network, const snn_population *populations, int n_populations,
             const snn_synapses *synapses, int n_synapses, int n_steps) {
    network.n_steps = n_steps;
    for (int i = 0; i < n_populations; ++i) {
        network.populations.push_back(population(populations[i]));
        Population &last = network.populations.back();
        if (!last.input()) continue;
        last.message_at = network.message_row;
        network.message_row += last.shape.neurons();
    }
    for (int i = 0; i < n_synapses; ++i) {
        network.groups.push_back(group(network, synapses[i]));
        Population &target = network.populations[synapses[i].target];
        target.groups.push_back(i);
        const bool alone = target.groups.size() == 1;
        target.repeats = alone && sends_again(network.populations[synapses[i].source], target,
                                              synapses[i], populations[synapses[i].target])
                             ? synapses[i].source
                             : -1;
    }
    for (int i = 0; i < n_populations; ++i)
        network.populations[i].relays = relays(network, populations[i], network.populations[i]);
}

}  // namespace snn
