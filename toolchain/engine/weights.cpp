// Synapse groups: from natural weights to the tables that the kernels read.
#include "weights.hpp"

#include <algorithm>
#include <stdexcept>

#include "winograd.hpp"

namespace snn {
namespace {

int input_channels(const Group &g, const Shape &source) {
    return source.channels / g.given.groups;
}

// Where in the natural weights (O, I / groups, kh, kw) a synapse is.
size_t natural(const Group &g, int per_group, int o, int i, int a, int b) {
    return ((size_t(o) * per_group + i) * g.kh() + a) * g.kw() + b;
}

// Channel of the target that a block of the gather kernel has at byte j of a row: the even bytes of
// a register become the lower half of its sums.
int unpacked(int block, int j) {
    const int bytes = std::min(kBytes, block);
    const int at = j % bytes;
    return j / bytes * bytes + (at % 2) * (bytes / 2) + at / 2;
}

// How a kernel with `taps` taps meets an axis of the map.
Axis axis(int size, int outputs, int taps, int stride, int dilation, int padding) {
    Axis a;
    std::vector<int> class_start;
    for (int r = 0; r < dilation; ++r) {
        class_start.push_back(int(a.order.size()));
        for (int i = r; i < size; i += dilation) {
            a.order.push_back(i);
            a.rank.push_back(i / dilation);
        }
    }
    class_start.push_back(int(a.order.size()));
    for (int o = 0; o < outputs; ++o) {
        const int at = o * stride - padding, r = ((at % dilation) + dilation) % dilation;
        const int rank = (at - r) / dilation, n = class_start[r + 1] - class_start[r];
        const int from = std::min(std::max(rank, 0), n);
        const int to = std::max(from, std::min(rank + taps, n));
        a.begin.push_back(class_start[r] + from);
        a.end.push_back(class_start[r] + to);
        a.first.push_back(rank);
    }
    return a;
}

// Has the lists of spikes go down strips of columns, one for each of the folded pixels of a row.
void by_strips(Group &g) {
    g.strips = g.x;
    std::vector<size_t> seen(g.in.width, 0);
    for (size_t i = 0; i < g.strips.begin.size(); ++i) {
        for (int x = g.strips.begin[i]; x < g.strips.end[i]; ++x)
            g.most_strips = std::max(g.most_strips, ++seen[x]);
        g.x.begin[i] = int(i);
        g.x.end[i] = int(i) + 1;
        g.x.first[i] = 0;
    }
}

// Rows of weights. P pixels folded into a block are one kernel with P * channels outputs: tap (a,
// b) of its pixel p is column b + p * stride of that kernel, whose stride is P times as large.
void pack_rows(Group &g, const Shape &source, int signs, const int8_t *weight) {
    const int sx = g.given.stride[1];
    if (g.flat) {
        g.n_rows = g.pixel_rows();
        g.y = g.x = axis(1, 1, 1, 1, 1, 0);
    } else {
        g.taps_x = g.kw() + (g.fold - 1) * sx;
        g.n_rows = size_t(g.kh()) * g.taps_x * g.pixel_rows();
        g.y = axis(g.in.height, g.out.height, g.kh(), g.given.stride[0], g.given.dilation[0],
                   g.given.top);
        g.x = axis(g.in.width, g.out.width / g.fold, g.taps_x, sx * g.fold, g.given.dilation[1],
                   g.given.left);
        if (g.fold > 1) by_strips(g);
    }
    const int blocks = g.fold > 1 ? 1 : g.out.padded / g.block;
    g.rows.assign(blocks * g.n_rows * g.block + 64, 128);
    const auto put = [&](size_t row, int sign, int block, int j, int i, int a, int b) {
        const int lane = block * g.block + unpacked(g.block, j);
        const int p = g.fold > 1 ? lane / g.out.padded : 0, o = lane - p * g.out.padded;
        const int tap = b - p * sx;
        if (o >= g.out.channels || tap < 0 || tap >= g.kw()) return;
        const int w = weight[natural(g, source.channels, o, i, a, tap)];
        const size_t at = (block * g.n_rows + row) * g.block + j;
        g.rows[at] = uint8_t(sign ? 128 - w : 128 + w);
    };
    const int columns = g.flat ? g.kw() : g.taps_x;
    // A flat map keeps its own order of bits.
    const size_t of_column = g.flat ? source.padded : g.column_rows(),
                 of_row = g.flat ? source.row_words() * 64 : columns * g.pixel_rows(),
                 of_sign = g.flat ? source.words() * 64 : g.sign_rows();
    for (int sign = 0; sign < signs; ++sign)
        for (int a = 0; a < g.kh(); ++a)
            for (int b = 0; b < columns; ++b)
                for (int i = 0; i < source.channels; ++i) {
                    const size_t row = a * of_row + b * of_column + sign * of_sign + i;
                    for (int block = 0; block < blocks; ++block)
                        for (int j = 0; j < g.block; ++j) put(row, sign, block, j, i, a, b);
                }
}

void pack_dense(Group &g, const Shape &source, const int8_t *weight) {
    const int width = std::min(g.out.padded, 64), parts = g.out.padded / width;
    const int per_group = input_channels(g, source),
              out_per_group = g.out.channels / g.given.groups;
    const int channels = g.flat ? source.padded : (source.channels + kGroup - 1) / kGroup * kGroup;
    const int line = g.flat ? source.width * source.padded : g.map_width() * channels;
    g.map_channels = g.flat ? int(source.lanes()) : channels;
    g.sums.assign(g.out.padded, 0);
    for (int o = 0; o < g.out.channels; ++o)
        for (size_t k = 0, n = size_t(per_group) * g.kh() * g.kw(); k < n; ++k)
            g.sums[o] += weight[o * n + k];
    const auto at = [&](int o, int channel, int a, int b) -> int {
        if (o >= g.out.channels || channel >= source.channels) return 0;
        const int group = o / out_per_group;
        const int i = channel - group * per_group;
        return i < 0 || i >= per_group ? 0 : weight[natural(g, per_group, o, i, a, b)];
    };
    std::vector<int> values;
    for (int part = 0; part < parts; ++part) {
        g.dense_at.push_back(values.size());
        g.runs.emplace_back();
        const int o0 = part * width, o1 = std::min(o0 + width, g.out.channels) - 1;
        // The input channels of this part's groups.
        const int low = o0 / out_per_group * per_group / kGroup * kGroup;
        const int high = std::min(channels, (o1 / out_per_group + 1) * per_group);
        const int n = (high - low + kGroup - 1) / kGroup;
        const bool together =
            low == 0 && n * kGroup == channels && (g.flat || g.given.dilation[1] == 1);
        for (int a = 0; a < g.kh(); ++a)
            for (int b = 0; b < g.kw(); ++b) {
                const int dy = g.flat ? 1 : g.given.dilation[0],
                          dx = g.flat ? 1 : g.given.dilation[1];
                if (together && b)
                    g.runs.back().back().groups += n;
                else
                    g.runs.back().push_back({a * dy * line + b * dx * channels + low, n});
                for (int k = 0; k < n * kGroup; k += kGroup)
                    for (int j = 0; j < width; ++j)
                        for (int i = 0; i < kGroup; ++i)
                            values.push_back(at(o0 + j, low + k + i, a, b));
            }
    }
#if defined(__AVX512VNNI__)
    g.dense8.assign(values.begin(), values.end());
#else
    g.dense16.assign(values.begin(), values.end());
#endif
}

// Six numbers for three: what winograd.hpp multiplies with.
void combined(const int (&g)[3], int (&to)[kSeen]) {
    const int outer = g[0] + g[2], twice = g[0] + 4 * g[2];
    to[0] = 6 * g[0];
    to[1] = outer + g[1];
    to[2] = outer - g[1];
    to[3] = twice + 2 * g[1];
    to[4] = twice - 2 * g[1];
    to[5] = 6 * g[2];
}

// Whether squares of pixels are faster than plain products, in cycles for each pair of channels.
// Their weights are many: what does not fit the second-level cache comes from the next one for each
// stimulus.
bool squares_pay(const Group &g, int channels) {
    const double pixels = double(g.out.pixels());
    const double squares = double(g.seen(g.out.height)) * g.seen(g.out.width) / (kSquare * kSquare);
    constexpr double kSixteenBits = kBytes / 2, kPlain = kSixteenBits * kGroup / 2;
    const double bytes = 2.0 * kProducts * channels * g.out.padded;
    const double cached = bytes < (256 << 10) ? 32 : 8;  // bytes a cycle
    const double turned = 12 * squares * kSquare * kSquare / (kBytes / 4);
    return squares * kProducts / kSixteenBits + 2 * kProducts / cached + turned / channels +
               turned / g.out.padded <
           pixels * 9 / kPlain;
}

// Whether a group takes squares: where they are faster, and 64 times any sum fits 32 bits.
bool takes_squares(Group g, const Population &source, const int8_t *weight) {
    const snn_synapses &s = g.given;
    const bool three = g.kh() == 3 && g.kw() == 3 && s.stride[0] == 1 && s.stride[1] == 1 &&
                       s.dilation[0] == 1 && s.dilation[1] == 1 && s.groups == 1;
    const int channels = source.shape.channels;
    if (!three || g.flat || !source.values() || !source.given.held || source.planes != 1 ||
        channels % kLanes)
        return false;
    g.side = kSquare;
    if (!squares_pay(g, channels)) return false;
    const int64_t span = source.given.high - std::min<int64_t>(source.given.low, 0);
    const size_t per_channel = size_t(channels) * 9;
    for (int o = 0; o < g.out.channels; ++o) {
        int64_t positive = 0, negative = 0;
        for (size_t k = 0; k < per_channel; ++k) {
            const int w = weight[o * per_channel + k];
            (w > 0 ? positive : negative) += w;
        }
        if (std::max(positive, -negative) * span > kLargestSum) return false;
    }
    return true;
}

void pack_squares(Group &g, const int8_t *weight) {
    const size_t channels = size_t(g.map_channels), per_channel = channels * 9;
    g.whole.push_back({0, int32_t(channels / 2)});
    g.squares.assign(g.out.padded * kProducts * channels, 0);
    for (int o = 0; o < g.out.channels; ++o)
        for (size_t i = 0; i < channels; ++i) {
            const int8_t *w = weight + o * per_channel + i * 9;
            int down[3][kSeen], both[kSeen];
            for (int b = 0; b < 3; ++b) combined({w[b], w[3 + b], w[6 + b]}, down[b]);
            for (int a = 0; a < kSeen; ++a) {
                combined({down[0][a], down[1][a], down[2][a]}, both);
                for (int b = 0; b < kSeen; ++b) {
                    const size_t product =
                        (o / kLanes * kProducts + a * kSeen + b) * channels * kLanes;
                    g.squares[product + (i / 2 * kLanes + o % kLanes) * 2 + i % 2] =
                        int16_t(both[b]);
                }
            }
        }
}

void pack_taps(Group &g, const int8_t *weight) {
    g.map_channels = g.in.padded;
    const size_t taps = size_t(g.kh()) * g.kw();
    g.taps.assign(g.signs * taps * g.out.padded, 0);
    g.sums.assign(g.out.padded, 0);
    for (int c = 0; c < g.out.channels; ++c)
        for (size_t k = 0; k < taps; ++k) {
            const int w = weight[c * taps + k];
            g.taps[k * g.out.padded + c] = int16_t(w);
            if (g.signs == 2) g.taps[(taps + k) * g.out.padded + c] = int16_t(-w);
            g.sums[c] += w;
        }
}

// A single tap's weights are all that it can add: their exponent is applied beforehand. `bounds.py`
// has shown that they fit, or the population computed in 64 bits.
void pack_single_tap(Group &g) {
    if (g.signs != 1 || g.kh() * g.kw() != 1) return;
    const int e = g.given.exponent, left = std::max(e, 0), right = std::min(std::max(-e, 0), 31);
    for (int pixel = 0; pixel < g.fold; ++pixel)
        for (int16_t w : g.taps)
            g.tap.push_back(int32_t(int64_t(w) * (int64_t(1) << left)) >> right);
}

size_t lane_of(const Shape &s, size_t neuron) {  // of a neuron in (C, H, W) order
    const size_t c = neuron / s.pixels(), pixel = neuron % s.pixels();
    return pixel * s.padded + c;
}

void pack_sparse(Group &g, const Shape &source, const snn_synapses &given) {
    std::vector<size_t> count(source.lanes() + 1, 0);
    const size_t rows = g.out.neurons();
    for (int64_t k = 0; k < given.indptr[rows]; ++k) ++count[lane_of(source, given.indices[k]) + 1];
    g.column.assign(source.lanes() + 1, 0);
    for (size_t i = 1; i <= source.lanes(); ++i) g.column[i] = g.column[i - 1] + int64_t(count[i]);
    std::vector<int64_t> next(g.column.begin(), g.column.end() - 1);
    g.target.resize(given.indptr[rows]);
    g.weight.resize(given.indptr[rows]);
    for (size_t row = 0; row < rows; ++row)
        for (int64_t k = given.indptr[row]; k < given.indptr[row + 1]; ++k) {
            const int64_t at = next[lane_of(source, given.indices[k])]++;
            g.target[at] = int32_t(lane_of(g.out, row));
            g.weight[at] = given.weight[k];
        }
}

void keep_natural(Group &g, const snn_synapses &given) {
    size_t n = size_t(g.out.channels) * (g.in.channels / g.given.groups) * g.kh() * g.kw();
    if (given.indptr) {
        g.indptr.assign(given.indptr, given.indptr + g.out.neurons() + 1);
        n = size_t(given.indptr[g.out.neurons()]);
        g.indices.assign(given.indices, given.indices + n);
    }
    g.weight.assign(given.weight, given.weight + n);
}

// Whether any sum of an output channel's weights, over any set of them, fits 16 bits; with both
// signs, if messages have both.
bool fits_16_bits(const Group &g, const int8_t *weight, size_t per_channel) {
    for (int o = 0; o < g.out.channels; ++o) {
        int64_t positive = 0, negative = 0;
        for (size_t k = 0; k < per_channel; ++k) {
            const int w = weight[o * per_channel + k];
            (w > 0 ? positive : negative) += w;
        }
        if (g.signs == 2) positive -= negative;
        if (positive > 32767 || negative < -32768) return false;
    }
    return true;
}

// Whether a byte holds the weights with both signs: it does, but for those of -128. No layer that
// the compiler makes has any.
bool has_negatives(const int8_t *weight, size_t n) {
    return std::find(weight, weight + n, int8_t(-128)) == weight + n;
}

}  // namespace

Group group(const snn_network &network, const snn_synapses &given) {
    const Population &source = network.populations.at(given.source);
    const Population &target = network.populations.at(given.target);
    Group g;
    g.given = given;
    g.given.weight = nullptr;
    g.given.indptr = g.given.indices = nullptr;
    g.in = source.shape;
    g.out = target.shape;
    g.block = target.block;
    g.fold = target.fold;
    g.signs = source.signs;
    if (given.source >= given.target) throw std::invalid_argument("a source after its target");
    if (target.given.wide) {
        g.kernel = Kernel::kScalar;
        keep_natural(g, given);
        return g;
    }
    if (given.indptr) {
        g.kernel = Kernel::kSparse;
        pack_sparse(g, source.shape, given);
        return g;
    }
    const int per_group = input_channels(g, source.shape);
    const size_t per_channel = size_t(per_group) * g.kh() * g.kw();
    g.narrow = fits_16_bits(g, given.weight, per_channel);
    if (per_group == 1 && given.groups > 1 && g.out.channels == g.in.channels &&
        (g.narrow || source.values())) {
        g.kernel = Kernel::kDepthwise;
        pack_taps(g, given.weight);
        if (source.spikes()) pack_single_tap(g);
        return g;
    }
    g.flat = g.out.pixels() == 1 && given.top == 0 && given.left == 0 && given.groups == 1 &&
             g.in.height == g.kh() && g.in.width == g.kw() && given.dilation[0] == 1 &&
             given.dilation[1] == 1;
    // With dilation, the taps of folded pixels are no kernel: those layers are computed densely.
    if (source.spikes() && given.groups == 1 && (g.fold == 1 || given.dilation[1] == 1) &&
        (g.signs == 1 || has_negatives(given.weight, g.out.channels * per_channel))) {
        if (g.flat) {
            g.in.height = g.in.width = 1;
            g.in.channels = g.in.padded = int(source.signs * source.shape.words() * 64);
            g.signs = 1;
        }
        pack_rows(g, source.shape, source.signs, given.weight);
    }
    if (takes_squares(g, source, given.weight)) g.side = kSquare;
    pack_dense(g, source.shape, given.weight);
    if (g.side > 1) pack_squares(g, given.weight);
    return g;
}

}  // namespace snn
