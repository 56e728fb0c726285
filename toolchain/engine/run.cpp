// The C ABI: preparing a network, and running batches of samples through it.
#include <cstdio>
#include <stdexcept>

#include "activity.hpp"
#include "workspace.hpp"

namespace snn {

Workspace::Workspace(const snn_network &network) {
    const size_t n = network.populations.size();
    const int steps = std::min(network.n_steps, kWindow);
    messages.resize(n);
    narrow.resize(n);
    wide.resize(n);
    counts.resize(n);
    sums.resize(n);
    groups.resize(network.groups.size());
    for (size_t i = 0; i < n; ++i) {
        const Population &p = network.populations[i];
        const size_t lanes = p.shape.lanes();
        messages[i].resize(p, steps);
        // Readouts keep their potential to the end; others only where there is a next window.
        const bool keeps = network.n_steps > kWindow;
        if (p.readout()) wide[i].resize(lanes);
        const size_t states = p.facts.states * lanes;
        if (keeps && states) {
            if (p.narrow_state())
                narrow[i].resize(states);
            else
                wide[i].resize(states);
        }
        if (p.counted_by_value())
            sums[i].resize(lanes);
        else if (!p.readout())
            counts[i].resize(lanes);
    }
}

void Workspace::spoil(const snn_network &network, int population, bool begins) {
    if constexpr (!kSentinel) return;
    for (GroupScratch &group : groups) group.spoil();
    snn::spoil(taps);
    snn::spoil(sums16);
    snn::spoil(sums32);
    snn::spoil(part);
    snn::spoil(plane);
    snn::spoil(held);
    snn::spoil(scattered);
    snn::spoil(scalar);
    snn::spoil(potentials);
    messages[population].spoil(network.populations[population].shape);
    if (!begins) return;
    snn::spoil(narrow[population]);
    snn::spoil(wide[population]);
}

namespace {

// From (H, W, C) lanes to a caller's (C, H, W).
template <class From, class To>
void natural_order(const Shape &s, const From &from, To to) {
    constexpr size_t kPixels = 16;  // whose channels stay in the first-level cache
    for (size_t first = 0; first < s.pixels(); first += kPixels)
        for (int c = 0; c < s.channels; ++c)
            for (size_t i = first; i < std::min(first + kPixels, s.pixels()); ++i)
                to(c * s.pixels() + i, from(i * s.padded + c));
}

// Writes what a population sent during a window into its trace.
void write_trace(const Population &p, const Workspace &work, const Messages &m,
                 const Window &window, int64_t sample, int n_steps, void *trace) {
    const Shape &s = p.shape;
    for (int t = 0; t < window.steps; ++t) {
        const int from = p.given.held ? 0 : t;
        const size_t at = (size_t(sample) * n_steps + window.first + t) * s.neurons();
        for (int y = 0; y < s.height; ++y)
            for (int x = 0; x < s.width; ++x)
                for (int c = 0; c < s.channels; ++c) {
                    const size_t to = at + (size_t(c) * s.height + y) * s.width + x;
                    if (p.spikes())
                        static_cast<int8_t *>(trace)[to] = int8_t(m.spike(s, from, y, x, c));
                    else if (p.values())
                        static_cast<int32_t *>(trace)[to] = int32_t(m.value(s, from, y, x, c));
                    else
                        static_cast<int64_t *>(trace)[to] =
                            work.potentials[t * s.lanes() + (size_t(y) * s.width + x) * s.padded +
                                            c];
                }
    }
}

// Thrown for input that no network of this kind can have been given.
struct OutOfRange {};

void take_input(const snn_network &network, size_t index, const snn_batch &batch, int64_t sample,
                const Window &window, Workspace &work) {
    const Population &input = network.populations[index];
    const int steps = input.given.held ? 1 : window.steps;
    for (int t = 0; t < steps; ++t) {
        const int64_t step = batch.input_steps == 1 ? 0 : window.first + t;
        const size_t row = size_t(sample * batch.input_steps + step);
        const size_t at = row * network.message_row + input.message_at;
        Messages &to = work.messages[index];
        const bool taken =
            batch.message_bytes == 1
                ? take(input, static_cast<const int8_t *>(batch.messages) + at, to, t)
                : take(input, static_cast<const int32_t *>(batch.messages) + at, to, t);
        if (!taken) throw OutOfRange();
    }
}

void run_sample(const snn_network &network, const snn_batch &batch, int64_t sample,
                Workspace &work) {
    for (int first = 0; first < network.n_steps; first += kWindow) {
        const Window window{first, std::min(kWindow, network.n_steps - first),
                            batch.activity != nullptr, batch.dense_above};
        for (size_t i = 0; i < network.populations.size(); ++i) {
            const Population &p = network.populations[i];
            void *trace = batch.traces ? batch.traces[i] : nullptr;
            // What is the same at every step has been computed in the first window.
            if (!p.given.held || first == 0) {
                work.spoil(network, int(i), first == 0);
                if (p.input()) take_input(network, i, batch, sample, window, work);
                advance(network, int(i), window, trace != nullptr, work);
            }
            if (trace)
                write_trace(p, work, work.messages[i], window, sample, network.n_steps, trace);
        }
    }
    for (size_t i = 0; i < network.populations.size(); ++i)
        if (batch.outputs && batch.outputs[i]) {
            const Shape &s = network.populations[i].shape;
            int64_t *to = batch.outputs[i] + sample * int64_t(s.neurons());
            natural_order(
                s, [&](size_t lane) { return work.wide[i][lane]; },
                [&](size_t neuron, int64_t v) { to[neuron] = v; });
        }
}

void run_batch(const snn_network &network, const snn_batch &batch, Workspace &work) {
    for (auto &counts : work.counts) std::fill(counts.begin(), counts.end(), 0);
    for (auto &sums : work.sums) std::fill(sums.begin(), sums.end(), 0);
    for (int64_t sample = 0; sample < batch.n_samples; ++sample)
        run_sample(network, batch, sample, work);
    if (!batch.activity) return;
    for (size_t i = 0; i < network.populations.size(); ++i) {
        if (!batch.activity[i]) continue;
        const Population &p = network.populations[i];
        const int64_t times = p.given.held ? network.n_steps : 1;
        settle(p, work.messages[i], work.counts[i], work.sums[i]);
        const auto add = [&](const auto &totals) {
            natural_order(
                p.shape, [from = totals.data()](size_t lane) { return int64_t(from[lane]); },
                [to = batch.activity[i], times](size_t neuron, int64_t n) {
                    to[neuron] += times * n;
                });
        };
        p.counted_by_value() ? add(work.sums[i]) : add(work.counts[i]);
    }
}

// Workspaces are kept from call to call: allocating one costs more than a small network's sample.
std::unique_ptr<Workspace> borrow(snn_network &network) {
    {
        const std::lock_guard<std::mutex> lock(network.mutex);
        if (!network.free.empty()) {
            auto work = std::move(network.free.back());
            network.free.pop_back();
            return work;
        }
    }
    return std::make_unique<Workspace>(network);
}

void give_back(snn_network &network, std::unique_ptr<Workspace> work) {
    const std::lock_guard<std::mutex> lock(network.mutex);
    network.free.push_back(std::move(work));
}

}  // namespace
}  // namespace snn

snn_network::snn_network() = default;
snn_network::~snn_network() = default;

snn_network *snn_engine_network_new(const snn_population *populations, int32_t n_populations,
                                    const snn_synapses *synapses, int32_t n_synapses,
                                    int32_t n_steps, char *message, int32_t length) {
    try {
        auto network = std::make_unique<snn_network>();
        snn::prepare(*network, populations, n_populations, synapses, n_synapses, n_steps);
        return network.release();
    } catch (const std::exception &error) {
        std::snprintf(message, size_t(length), "%s", error.what());
    }
    return nullptr;
}

void snn_engine_network_free(snn_network *network) {
    delete network;
}

int snn_engine_run(snn_network *network, const snn_batch *batch) {
    try {
        auto work = snn::borrow(*network);
        snn::run_batch(*network, *batch, *work);
        snn::give_back(*network, std::move(work));
        return 0;
    } catch (const std::bad_alloc &) {
        return 1;
    } catch (const snn::OutOfRange &) {
        return 2;
    }
}
