// A network prepared for execution.
//
// Layout. Inside the engine a map is (H, W, C): the channels of a pixel are neighbours, padded to
// 16, 32 or a multiple of 64 (`Shape::padded`). Spikes are bits in this order, row by row; payloads
// are bytes. Padded channels have no weight and never fire.
//
// Order of execution. One sample at a time goes through all layers, and through `kWindow` steps in
// a layer before the next: the membrane potential of a pixel stays in registers for these steps,
// the messages of a layer for one sample stay in the cache, and memory does not grow with the batch
// or the number of steps.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

#include "arrays.hpp"
#include "engine.h"
#include "simd.hpp"

namespace snn {

constexpr int kWindow = 32;  // steps that a layer computes before the next layer gets them

struct Shape {
    int channels = 0, height = 0, width = 0;
    int padded = 0;  // channels with padding

    Shape() = default;
    Shape(int c, int h, int w) : channels(c), height(h), width(w) {
        padded = c <= 16 ? 16 : c <= 32 ? 32 : (c + 63) / 64 * 64;
    }
    size_t pixels() const { return size_t(height) * width; }
    size_t neurons() const { return pixels() * channels; }
    size_t lanes() const { return pixels() * padded; }
    // Words of spikes in a row of the map, and in a whole map.
    size_t row_words() const { return (size_t(width) * padded + 63) / 64; }
    size_t words() const { return height * row_words(); }
};

// Parameters of neurons, one per lane of a pixel; a bias or an initial potential per neuron has one
// per lane of the whole map.
template <class T>
struct Parameters {
    Array<T> bias, threshold, initial, multiplier, shift;
};

// What a neuron model is like; neurons.hpp has the models.
struct Facts {
    int states = 0;        // registers that a neuron keeps from step to step
    bool wide = false;     // it always computes in 64 bits
    bool graded = false;   // it sends values, though it keeps registers
    bool readout = false;  // its potential is an output, and it sends nothing
};

struct Population {
    snn_population given;  // its pointers are not valid any more
    Facts facts;
    Shape shape;
    // Pixels of a row that are computed together, where their channels do not fill a register, and
    // the lanes of a unit of computation: `fold` pixels, or a divisor of shape.padded.
    int fold = 1, block = 0;
    Parameters<int32_t> narrow;
    Parameters<int64_t> wide;
    // Graded neurons: multiplier / 2**shift, and the potential that suffices for the largest
    // payload. Clip-floor neurons: 1 / threshold.
    Array<double> factor;
    Array<int32_t> cap;
    // Of both, if it is exact: a potential times this, shifted right by 32 and `scale_shift`.
    Array<uint32_t> scale;
    int scale_shift = 0;
    // Lines of piecewise linear neurons, of each lane of a pixel: where they begin, all but the
    // first, [line][lane]; and multiplier, offset and shift, [lane][line][3].
    Array<int64_t> begins, lines;
    std::vector<int> groups;  // synapse groups that feed it
    int repeats = -1;         // the population whose every message it sends again
    int planes = 0;           // bytes of a message, 0 for spikes
    int signs = 1;            // maps of spikes in a step: 2 if there are negative ones
    size_t message_at = 0;    // of an input: where its messages begin in a row of the caller's

    // Whether its neurons are proven to send just the spikes that they get, each at the same step.
    bool relays = false;

    bool spikes() const {
        return given.kind == SNN_INPUT_SPIKES || (facts.states && !facts.graded);
    }
    bool values() const { return !spikes() && !readout(); }
    // Whether its neurons compute in 32 bits.
    bool narrow_state() const { return !given.wide && !facts.wide; }
    bool counted_by_value() const { return values() && given.counting == SNN_COUNT_VALUES; }
    bool input() const { return given.kind <= SNN_INPUT_VALUES; }
    bool readout() const { return facts.readout; }
};

// How a group of synapses is computed.
enum class Kernel {
    kConv,       // rows of weights gathered by spikes, or dense products
    kDepthwise,  // one input channel per output channel: masked sums or products
    kSparse,     // a compressed-column matrix
    kScalar      // in 64 bits, one synapse after the other: whatever nothing else can do
};

// One stretch of a map's row that is multiplied by consecutive weights.
struct Run {
    int32_t offset;  // in map elements, from the first tap of the output pixel
    int32_t groups;  // length, in groups of kGroup elements
};

// How the kernel meets the rows (or columns) of a map. The positions of the map are put in the
// order of their remainder modulo the dilation, so that what an output pixel sees is one stretch of
// them.
struct Axis {
    std::vector<int32_t> order;  // positions of the map, in this order
    std::vector<int32_t> rank;   // of each, among those with its remainder: taps count in these
    std::vector<int32_t> begin, end;  // per output: the stretch that it sees
    std::vector<int32_t> first;       // per output: the rank that its first tap meets; may be < 0
};

struct Group {
    snn_synapses given;
    Kernel kernel = Kernel::kConv;
    Shape in, out;  // of the source and the target; a map under a kernel of its size is one pixel
    bool flat = false;        // whether `in` is such a pixel
    bool narrow = false;      // any sum of weights fits 16 bits
    int fold = 1, block = 0;  // of the target
    int signs = 1;            // maps of spikes in a step of `in`; a flat map is one pixel with both

    // Events: rows of weights, [output block][tap row][tap column][sign][input channel][block], or
    // by strips [output block][tap row][sign][tap column][input channel][block], as bytes
    // offset by 128, in the order that the kernel's unpacking undoes. A negative spike has a
    // row of its own, of the weights with the other sign. Pixels folded into one block make one
    // kernel, wide enough for all of them.
    Array<uint8_t> rows;
    size_t n_rows = 0;
    int taps_x = 1;  // columns of that kernel
    Axis y, x;
    // Where lists go by strips (events.hpp): their columns, as `Axis` has them for each folded
    // pixel; `x` then counts strips, and `most_strips` is how many see a column at most.
    Axis strips;
    size_t most_strips = 1;

    // Dense products: [output block of 64][run][group of elements][lane][kGroup].
    Array<int8_t> dense8;
    Array<int16_t> dense16;
    std::vector<std::vector<Run>> runs;  // per output block
    std::vector<size_t> dense_at;        // where an output block starts
    Array<int16_t>
        squares;   // winograd.hpp: [output block of 16][product][pair of channels][lane][2]
    int side = 1;  // output pixels in a row of a square, of which a map has whole ones
    std::vector<Run> whole;  // the channels of a pixel
    Array<int32_t> sums;     // of the weights of each output lane
    Array<int16_t> taps;     // depthwise: [sign][tap][lane]
    // Of a single tap of spikes of one sign, with its exponent; of each lane of the folded pixels.
    Array<int32_t> tap;
    int map_channels = 0;  // channels of a map, padded to kGroup

    // Sparse: by source neuron, in the engine's order.
    std::vector<int64_t> column;  // (in.lanes() + 1,)
    std::vector<int32_t> target;  // lane of the target
    std::vector<int8_t> weight;   // also the natural weights of kScalar
    std::vector<int64_t> indptr, indices;

    // Whether each neuron of the target has one synapse.
    bool one_to_one() const { return kernel == Kernel::kDepthwise && kh() * kw() == 1; }
    int kh() const { return given.kernel[0]; }
    int kw() const { return given.kernel[1]; }
    bool single_tap() const { return !tap.empty(); }
    // Whether its single tap meets the pixel at the target's own place.
    bool in_place() const {
        return single_tap() && given.stride[0] == 1 && given.stride[1] == 1 && !given.top &&
               !given.left && in.height == out.height && in.width == out.width;
    }
    // Rows of weights that the spikes of one pixel choose from.
    int pixel_rows() const { return signs * in.padded; }
    // Rows of weights between those of one tap column and the next, and between those of the signs.
    int column_rows() const { return by_strips() ? in.padded : pixel_rows(); }
    int sign_rows() const { return by_strips() ? taps_x * in.padded : in.padded; }
    bool by_strips() const { return !strips.begin.empty(); }
    // Height and width of the padded map that dense products read.
    int map_height() const {
        return (seen(out.height) - 1) * given.stride[0] + (kh() - 1) * given.dilation[0] + 1;
    }
    int map_width() const {
        return (seen(out.width) - 1) * given.stride[1] + (kw() - 1) * given.dilation[1] + 1;
    }
    int seen(int outputs) const { return (outputs + side - 1) / side * side; }
};

struct Team;

// Elements that one instruction multiplies and adds: four bytes with VNNI, else two 16-bit numbers.
#if defined(__AVX512VNNI__)
constexpr int kGroup = 4;
using Element = uint8_t;
#else
constexpr int kGroup = 2;
using Element = int16_t;
#endif

}  // namespace snn

struct snn_network {
    std::vector<snn::Population> populations;
    std::vector<snn::Group> groups;
    int n_steps = 1;
    size_t message_row = 0;  // messages of all inputs at one step
    std::mutex mutex;        // of the free teams
    std::vector<std::unique_ptr<snn::Team>> free;
    std::atomic<int64_t> sample_ns{0};  // what a sample takes one thread; 0: not known yet

    snn_network();
    ~snn_network();
};

namespace snn {

// Fills a network from what the caller describes; throws std::invalid_argument.
void prepare(snn_network &network, const snn_population *populations, int n_populations,
             const snn_synapses *synapses, int n_synapses, int n_steps);

}  // namespace snn
