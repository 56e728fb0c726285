// One population during one window: sum its synapses, let its neurons answer.
#if defined(__AVX512VNNI__)
#include <cpuid.h>
#endif

#include "answer.hpp"
#include "products.hpp"
#include "scattered.hpp"

namespace snn {
namespace {

// Density from which dense products of spikes beat gathered rows. As measured with AVX-512, of
// convolutions and of dense layers, on a core that multiplies two registers of bytes a cycle: 0.35;
// on Zen 4, which does one: 0.6. Without byte products hardly ever.
double measured_density() {
#if defined(__AVX512VNNI__)
    unsigned a = 0, vendor = 0, c = 0, d = 0, unused = 0;
    __get_cpuid(0, &a, &vendor, &c, &d);
    __get_cpuid(1, &a, &unused, &c, &d);
    const unsigned family = (a >> 8 & 15) + (a >> 20 & 255);
    return vendor == 0x68747541 && family == 0x19 ? 0.6 : 0.35;  // "Auth" of AuthenticAMD
#else
    return 0.9;
#endif
}

// Sums of a tile stay in the second-level cache until the neurons take them.
constexpr int kTileBytes = 64 << 10;

// Sums of a strip of rows stay in the first.
constexpr size_t kStripBytes = 8 << 10;

class Layer {
  public:
    Layer(const snn_network &network, int index, const Window &window, Workspace &work)
        : network_(network),
          index_(index),
          p_(network.populations[index]),
          window_(window),
          work_(work),
          steps_(p_.given.held ? 1 : window.steps),
          lanes_(p_.fold > 1 ? p_.shape.padded : p_.block),
          products_(network, p_, lanes_, work),
          columns_(p_.shape.width / p_.fold),
          tile_(std::clamp(kTileBytes / (2 * steps_ * p_.block), 1,
                           std::min(columns_, kLargestTile))) {}

    // Takes parts of the population until none is left: rows, or blocks of channels where there are
    // more of those than rows.
    void run(Neurons &neurons, Parts &parts) {
        const int height = p_.shape.height, blocks = p_.shape.padded / lanes_;
        const bool by_rows = height >= parts.count() || height >= blocks;
        const size_t row = size_t(p_.shape.width) * lanes_;
        strip_ = rows_of_strip(row);
        const int unit = by_rows && has_squares() ? strip_ : 1;  // rows that are computed together
        const int size = by_rows ? (height + unit - 1) / unit : blocks;
        int first, end;
        if (!parts.take(size, first, end)) return;
        if (p_.repeats >= 0) return repeat();
        if (p_.given.wide) return run_wide(neurons);
        sort_groups();
        const int block = p_.block;
        grow(work_.held, strip_ * row);
        const size_t room = size_t(tile_) * steps_ * block;
        grow(work_.part, std::max(room, strip_ * row));
        grow(work_.sums16, room);
        grow(work_.sums32, room);
        do {
            const int y0 = by_rows ? first * unit : 0;
            const int y1 = by_rows ? std::min(end * unit, height) : height;
            const int b0 = by_rows ? 0 : first, b1 = by_rows ? blocks : end;
            if (stepping_.empty() && !sparse_ && p_.values() && !p_.facts.states)
                run_strips(neurons, y0, y1, b0, b1);
            else
                run_rows(neurons, y0, y1, b0, b1);
        } while (parts.take(size, first, end));
    }

  private:
    GroupScratch &scratch(int group) { return work_.groups[group]; }
    const Messages &messages(const Group &g) const { return work_.messages[g.given.source]; }
    const Population &source(const Group &g) const { return network_.populations[g.given.source]; }

    // The rows y0.. to y1 of the blocks of channels b0.. to b1, where sums are equal at each step
    // and neurons keep no state: strips of rows, which answer together.
    void run_strips(Neurons &neurons, int y0, int y1, int b0, int b1) {
        const bool alone = held_.size() == 1;  // then neurons shift the sum
        const int e = alone ? network_.groups[held_[0]].given.exponent : 0;
        int32_t *held = work_.held.data();
        const Stretch<int32_t> sums{held, 0, std::max(e, 0), std::max(-e, 0), p_.block};
        for (int y = y0; y < y1; y += strip_)
            for (int b = b0; b < b1; ++b) {
                const int n = std::min(strip_, y1 - y);
                products_.sum_held(held_, y, n, b * lanes_, alone, held);
                neurons.answer_row(sums, n * columns_, size_t(p_.block), y, 0, b * lanes_);
            }
    }

    // The same where they are not.
    void run_rows(Neurons &neurons, int y0, int y1, int b0, int b1) {
        for (int y = y0; y < y1; ++y) {
            for (int i : stepping_) {
                GroupScratch &s = scratch(i);
                if (!s.by_events) continue;
                merge_rows(network_.groups[i], s.events, y, steps_, s.merged);
                order_items(network_.groups[i], s.merged, columns_, tile_, steps_, s.items);
            }
            for (int b = b0; b < b1; ++b) run_block(neurons, y, b * lanes_);
        }
    }

    // Rows that are summed before their neurons answer. What is turned of a strip of squares serves
    // all channels; eight squares are multiplied at a time.
    int rows_of_strip(size_t row) const {
        const int height = p_.shape.height;
        if (!has_squares()) return std::clamp(int(kStripBytes / (4 * row)), 1, height);
        const int across = (p_.shape.width + kSquare - 1) / kSquare;
        return std::min((8 + across - 1) / across * kSquare,
                        (height + kSquare - 1) / kSquare * kSquare);
    }

    bool has_squares() const {
        return std::any_of(p_.groups.begin(), p_.groups.end(),
                           [&](int i) { return !network_.groups[i].squares.empty(); });
    }

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
            if (source(g).given.held) {
                held_.push_back(i);
                scratch(i).squares.first = -1;
                products_.lay_out(i, 1);  // one step: products, whatever the density
            } else {
                stepping_.push_back(i);
                lay_out_group(i);
            }
        }
        sparse_ = cleared;
    }

    void lay_out_group(int group) {
        const Group &g = network_.groups[group];
        GroupScratch &to = scratch(group);
        const bool spikes = source(g).spikes();
        static const double measured = measured_density();
        const double above = window_.dense_above < 0 ? measured : window_.dense_above;
        to.by_events = spikes && !g.rows.empty() && messages(g).density < above;
        if (to.by_events)
            list_events(g, messages(g), steps_, to.events);
        else if (!spikes || g.kernel != Kernel::kDepthwise)  // those read the spikes themselves
            products_.lay_out(group, steps_);
    }

    // Sums of one group for a tile from column x0 on, before its exponent: (tile, steps, block).
    template <class A>
    void sum_group(int i, int y, int x0, int n, int c0, A *to) {
        const Group &g = network_.groups[i];
        GroupScratch &from = scratch(i);
        if (from.by_events)
            return gather(g, from.merged, from.items.ordered.data() + size_t(x0) * steps_,
                          c0 / lanes_, y, x0, n, steps_, to);
        for (int k = 0; k < n * p_.fold; ++k) {
            const int x = x0 * p_.fold + k;
            A *into = to + size_t(k / p_.fold) * steps_ * p_.block + k % p_.fold * lanes_;
            if constexpr (sizeof(A) == 2)
                depthwise_spikes(g, messages(g), y, x, c0, lanes_, steps_, work_.taps, into,
                                 p_.block);
            else
                products_.multiply(g, from.maps, products_.map_at(g, y, x), from.maps[0].step,
                                   steps_, c0, into, p_.block);
        }
    }

    // Whether a group's sums come out in 16 bits.
    bool in_16_bits(int i) {
        const Group &g = network_.groups[i];
        return source(g).spikes() && g.narrow &&
               (scratch(i).by_events || g.kernel == Kernel::kDepthwise);
    }

    // Whether a group's only sums are its weights, where a spike comes.
    bool single_tap(int i) {
        return in_16_bits(i) && !scratch(i).by_events && network_.groups[i].single_tap();
    }

    // The channels c0.. of row y.
    void run_block(Neurons &neurons, int y, int c0) {
        const int block = p_.block;
        const size_t step = size_t(block), pixel = step * steps_;
        const bool only_held = stepping_.empty() && !sparse_;
        products_.sum_held(held_, y, 1, c0, false, work_.held.data());
        // A group whose sums the neurons take as they are, and one that they add by themselves.
        int direct = -1, tap = -1;
        if (held_.empty() && !sparse_) find_direct(direct, tap);
        for (int x0 = 0; x0 < columns_; x0 += tile_) {
            const int n = std::min(tile_, columns_ - x0);
            int left = 0, right = 0;
            if (direct >= 0) {
                const int e = network_.groups[direct].given.exponent;
                left = std::max(e, 0), right = std::max(-e, 0);
                sum_group(direct, y, x0, n, c0, work_.sums16.data());
            } else if (!only_held) {
                join(y, x0, n, c0);
            }
            const int x = x0 * p_.fold;
            if (only_held)
                neurons.answer_row(
                    Stretch<int32_t>{work_.held.data() + size_t(x) * lanes_, 0, 0, 0, block}, n,
                    step, y, x, c0);
            else if (tap >= 0)
                answer_with_tap(neurons, network_.groups[tap], n, left, right, y, x, c0);
            else if (direct >= 0)
                neurons.answer_row(Stretch<int16_t>{work_.sums16.data(), step, left, right, block},
                                   n, pixel, y, x, c0);
            else
                neurons.answer_row(Stretch<int32_t>{work_.sums32.data(), step, 0, 0, block}, n,
                                   pixel, y, x, c0);
        }
    }

    // Neurons answer that add the weights of one group, where a spike comes, by themselves.
    void answer_with_tap(Neurons &neurons, const Group &g, int n, int left, int right, int y, int x,
                         int c0) {
        const size_t step = size_t(p_.block);
        Stretch<int16_t> sums{work_.sums16.data(), step, left, right, p_.block};
        sums.tap = g.tap.data() + c0;
        sums.bits_apart = messages(g).step_words(g.in) * 4;
        for (int k = 0; k < n; ++k, sums.sums += step * steps_, x += p_.fold) {
            sums.bits = spikes_at(messages(g).map(g.in, 0), g.in, y, x, c0);
            neurons.answer(sums, y, x, c0);
        }
    }

    void find_direct(int &direct, int &tap) {
        const size_t n = stepping_.size();
        if (n == 1 && in_16_bits(stepping_[0])) direct = stepping_[0];
        if (n != 2 || !p_.spikes() || !p_.narrow_state()) return;
        for (int k : {0, 1})
            if (in_16_bits(stepping_[k]) && single_tap(stepping_[1 - k]) &&
                network_.groups[stepping_[1 - k]].in_place())
                direct = stepping_[k], tap = stepping_[1 - k];
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
            if (base && single_tap(i)) {
                for (int k = 0; k < n * p_.fold; ++k)
                    add_single_tap(
                        network_.groups[i], messages(network_.groups[i]), y, x0 * p_.fold + k, c0,
                        lanes_, steps_,
                        total + size_t(k / p_.fold) * steps_ * p_.block + k % p_.fold * lanes_,
                        p_.block);
                continue;
            }
            if (in_16_bits(i)) {
                sum_group(i, y, x0, n, c0, work_.sums16.data());
                Products::add_shifted(work_.sums16.data(), size, left, right, base, total);
            } else {
                sum_group(i, y, x0, n, c0, work_.part.data());
                Products::add_shifted(work_.part.data(), size, left, right, base, total);
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

    void repeat() {
        const Messages &from = work_.messages[p_.repeats];
        Messages &to = work_.messages[index_];
        for (int k = 0; k < to.n_planes; ++k)
            std::memcpy(to.plane(p_.shape, k, 0), from.plane(p_.shape, k, 0),
                        steps_ * p_.shape.lanes());
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
    const int index_;
    const Population &p_;
    const Window &window_;
    Workspace &work_;
    const int steps_;
    const int lanes_;  // of a pixel in a block
    Products products_;
    const int columns_;  // of blocks in a row
    const int tile_;     // blocks of a row that are summed before their neurons answer
    int strip_ = 1;      // rows whose neurons answer together
    std::vector<int> held_, stepping_;
    bool sparse_ = false;
};

// Neurons that repeat each spike that they get.
void relay(const Population &source, const Messages &from, int steps, Messages &to) {
    const size_t words = source.shape.words();
    for (int t = 0; t < steps; ++t)
        std::copy_n(from.map(source.shape, source.given.held ? 0 : t), words,
                    to.map(source.shape, t));
}

}  // namespace

void advance(const snn_network &network, int index, const Window &window, bool trace, Parts &parts,
             Workspace &work) {
    const Population &p = network.populations[index];
    if (p.relays) {
        int first, end;
        if (!parts.take(1, first, end)) return;
        const int from = network.groups[p.groups[0]].given.source;
        return relay(network.populations[from], work.messages[from],
                     p.given.held ? 1 : window.steps, work.messages[index]);
    }
    Neurons neurons(network, index, window, work);
    neurons.trace(trace && p.readout());
    Layer(network, index, window, work).run(neurons, parts);
}

}  // namespace snn
