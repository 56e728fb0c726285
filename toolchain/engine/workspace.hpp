// What one thread needs to simulate one sample: messages, states and scratch of every layer.
#pragma once

#include "dense.hpp"
#include "events.hpp"
#include "masked.hpp"

namespace snn {

// Scratch of a synapse group during one window.
struct GroupScratch {
    bool by_events = false;
    Events events;
    Merged merged;
    Items items;
    std::vector<Maps> maps;  // per plane

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
    }
};

struct Workspace {
    std::vector<Messages> messages;      // per population
    std::vector<Array<int32_t>> narrow;  // state between windows
    std::vector<Array<int64_t>> wide;
    std::vector<Array<uint32_t>> counts;  // messages other than 0 per lane, over all samples
    std::vector<Array<uint64_t>> sums;    // of the messages, where those are what counts
    std::vector<GroupScratch> groups;
    std::vector<Tap> taps;
    Array<int16_t> sums16;      // (pixels, steps, block) of one tile of pixels
    Array<int32_t> sums32;      // the same, of all groups together
    Array<int32_t> part;        // of one group
    Array<int32_t> plane;       // of one plane of bytes
    Array<int32_t> held;        // (columns, lanes): what is the same at every step
    Array<int32_t> scattered;   // (steps, lanes) of sparse groups, the whole map
    Array<int64_t> scalar;      // the same for wide populations
    Array<int64_t> potentials;  // (steps, lanes) of a readout that is traced

    explicit Workspace(const snn_network &network);

    // In the debug build, makes all worthless that a population computes anew: the scratch, and
    // what it has sent before; at the beginning of a sample its state, too. What remains are the
    // messages of others, and counts and sums, which are of all samples.
    void spoil(const snn_network &network, int population, bool begins);
};

// One window of a sample: steps `first` to `first + steps` of the network.
struct Window {
    int first, steps;
    bool counting;       // whether activity is wanted
    double dense_above;  // negative: the build's own
};

// Computes one population for one window; its sources have been computed.
void advance(const snn_network &network, int population, const Window &window, bool trace,
             Workspace &work);

}  // namespace snn
