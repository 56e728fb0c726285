// What threads need to simulate one sample: messages, states and scratch of every layer.
#pragma once

#include <atomic>
#include <memory>

#include "dense.hpp"
#include "gather.hpp"
#include "masked.hpp"
#include "winograd.hpp"

namespace snn {

// Scratch of a synapse group during one window.
struct GroupScratch {
    bool by_events = false;
    Events events;
    Merged merged;
    Items items;
    std::vector<Maps> maps;  // per plane
    Squares squares;

    void spoil() {
        snn::spoil(events.offset);
        snn::spoil(events.start);
        snn::spoil(merged.offset);
        snn::spoil(merged.start);
        snn::spoil(&merged.offsets, 1);
        snn::spoil(&merged.begin, 1);
        snn::spoil(&merged.end, 1);
        snn::spoil(items.ordered);
        snn::spoil(items.found);
        for (Maps &plane : maps) snn::spoil(plane.data);
        squares.spoil();
    }
};

// What the populations of a network have sent, and where their neurons stand, in one sample.
struct State {
    std::vector<Messages> messages;      // per population
    std::vector<Array<int32_t>> narrow;  // state between windows
    std::vector<Array<int64_t>> wide;
    std::vector<Array<uint32_t>> counts;  // messages other than 0 per lane, over all samples
    std::vector<Array<uint64_t>> sums;    // of the messages, where those are what counts
    Array<int64_t> potentials;            // (steps, lanes) of a readout that is traced

    // `keeps`: also what neurons of a network of a single window keep at its end.
    State(const snn_network &network, bool keeps);

    // In the debug build, makes all worthless that a population computes anew: what it has sent
    // before; at the beginning of a sample its state, too. What remains are the messages of others,
    // and counts and sums, which are of all samples.
    void spoil(const snn_network &network, int population, bool begins);
};

// A state, and the scratch of a thread that works on it.
struct Workspace {
    std::shared_ptr<State> state;
    std::vector<Messages> &messages = state->messages;
    std::vector<Array<int32_t>> &narrow = state->narrow;
    std::vector<Array<int64_t>> &wide = state->wide;
    Array<int64_t> &potentials = state->potentials;
    std::vector<GroupScratch> groups;
    std::vector<Tap> taps;
    Array<int16_t> sums16;     // (pixels, steps, block) of one tile of pixels
    Array<int32_t> sums32;     // the same, of all groups together
    Array<int32_t> part;       // of one group
    Array<int32_t> plane;      // of one plane of bytes
    Array<int32_t> held;       // (columns, lanes): what is the same at every step
    Array<int32_t> scattered;  // (steps, lanes) of sparse groups, the whole map
    Array<int64_t> scalar;     // the same for wide populations

    Workspace(const snn_network &network, std::shared_ptr<State> of);

    // In the debug build, makes all scratch worthless.
    void spoil();
};

// One window of a sample. Its steps are `at` to `at + steps` of the sample; `first` is 0 only where
// neurons begin.
struct Window {
    int first, at, steps;
    bool counting;       // whether activity is wanted
    double dense_above;  // negative: the build's own
};

// Parts of a population that threads take, one after the other, until none is left: rows of its
// map, or blocks of channels where there are few rows.
class Parts {
  public:
    void begin(int count) {
        count_ = count;
        next_.store(0, std::memory_order_relaxed);
    }
    // Of `size` items, those of the next part: from `first` on, to `end`. False if none is left.
    bool take(int size, int &first, int &end) {
        const int part = next_.fetch_add(1, std::memory_order_relaxed);
        if (part >= count_) return false;
        first = int(int64_t(size) * part / count_);
        end = int(int64_t(size) * (part + 1) / count_);
        return true;
    }
    int count() const { return count_; }

  private:
    std::atomic<int> next_{0};
    int count_ = 1;
};

// Computes parts of one population for one window; its sources have been computed.
void advance(const snn_network &network, int population, const Window &window, bool trace,
             Parts &parts, Workspace &work);

// Workspaces of the threads that compute a sample together; all of the same state.
struct Team {
    std::vector<std::unique_ptr<Workspace>> members;

    Team(const snn_network &network, bool keeps);
    State &state() { return *members[0]->state; }
    // A workspace for each of n threads.
    void grow(const snn_network &network, size_t n);
};

// From (H, W, C) lanes to a caller's (C, H, W).
template <class From, class To>
void natural_order(const Shape &s, const From &from, To to) {
    constexpr size_t kPixels = 64;  // whose channels stay in the first-level cache
    for (size_t first = 0; first < s.pixels(); first += kPixels)
        for (int c = 0; c < s.channels; ++c)
            for (size_t i = first; i < std::min(first + kPixels, s.pixels()); ++i)
                to(c * s.pixels() + i, from(i * s.padded + c));
}

// Thrown for input that no network of this kind can have been given.
struct OutOfRange {};

// Computes a sample. `continues`: neurons go on from where they stand.
void run_sample(const snn_network &network, const snn_batch &batch, int64_t sample, bool continues,
                int n_threads, Team &team);

}  // namespace snn
