// Sums of a population's synapses by products with maps of its sources' messages.
#pragma once

#include "workspace.hpp"

namespace snn {

class Products {
  public:
    // `lanes`: of a pixel that are computed together.
    Products(const snn_network &network, const Population &population, int lanes, Workspace &work)
        : network_(network), p_(population), lanes_(lanes), work_(work) {}

    // Lays out what the source has sent.
    void lay_out(int group, int steps) {
        const Group &g = network_.groups[group];
        std::vector<Maps> &maps = work_.groups[group].maps;
        maps.resize(source(g).spikes() ? 1 : messages(g).n_planes);
        for (size_t k = 0; k < maps.size(); ++k)
            snn::lay_out(g, source(g), messages(g), int(k), steps, maps[k]);
    }

    size_t map_at(const Group &g, int y, int x) const {
        if (g.flat) return 0;
        return (size_t(y) * g.given.stride[0] * g.map_width() + size_t(x) * g.given.stride[1]) *
               g.map_channels;
    }

    // Products of `rows` rows, all planes together, from `at` of the maps on: (rows, to_row).
    void multiply(const Group &g, const std::vector<Maps> &maps, size_t at, size_t row, int rows,
                  int c0, int32_t *to, size_t to_row) {
        for (size_t k = 0; k < maps.size(); ++k) {
            const Element *data = maps[k].data.data() + at;
            if (k) grow(work_.plane, size_t(rows) * lanes_);
            int32_t *into = k ? work_.plane.data() : to;
            const size_t into_row = k ? lanes_ : to_row;
            if (g.kernel == Kernel::kDepthwise)
                depthwise_products(g, data, row, rows, c0, lanes_, into, into_row);
            else
                dense_products(g, data, row, rows, c0, lanes_, into, into_row);
            if (!k) continue;
            for (int r = 0; r < rows; ++r)
                for (int c = 0; c < lanes_; c += kLanes) {
                    int32_t *sum = to + r * to_row + c;
                    const auto more = Lanes<int32_t>::at(into + r * into_row + c) << int(8 * k);
                    (Lanes<int32_t>::at(sum) + more).to(sum);
                }
        }
        take_zero_out(g, rows, c0, to, to_row);
    }

    // What groups bring at every step, of all pixels of `rows` rows from y on: (rows, columns,
    // lanes). `alone`: there is one group, whose exponent is left to the neurons.
    void sum_held(const std::vector<int> &groups, int y, int rows, int c0, bool alone,
                  int32_t *held) {
        const size_t row = size_t(p_.shape.width) * lanes_;
        for (size_t i = 0; i < groups.size(); ++i) {
            const Group &g = network_.groups[groups[i]];
            GroupScratch &from = work_.groups[groups[i]];
            const size_t step = size_t(g.given.stride[1]) * g.map_channels;
            if (i && adds_by_itself(groups[i])) {
                const Shift before(i == 1 ? network_.groups[groups[0]].given.exponent : 0);
                for (int r = 0; r < rows; ++r)
                    add_one_to_one(g, from.maps[0].data.data() + map_at(g, y + r, 0), step,
                                   p_.shape.width, c0, lanes_, before, held + r * row);
                continue;
            }
            int32_t *to = i ? work_.part.data() : held;
            if (!g.squares.empty() && rows > 1) {
                for (int c = 0; c < lanes_; c += kLanes)
                    square_products(g, from.maps[0], y, rows, c0 + c, to + c, lanes_, from.squares);
                take_zero_out(g, rows * p_.shape.width, c0, to, lanes_);
            } else {
                for (int r = 0; r < rows; ++r)
                    multiply(g, from.maps, map_at(g, y + r, 0), step, p_.shape.width, c0,
                             to + r * row, lanes_);
            }
            const Shift shift(g.given.exponent);
            const bool later = !i && groups.size() > 1 && adds_by_itself(groups[1]);
            if (!alone && !later && (g.given.exponent || i))
                add_shifted(to, rows * row, shift.left, shift.right, i ? held : nullptr, held);
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

  private:
    const Messages &messages(const Group &g) const { return work_.messages[g.given.source]; }
    const Population &source(const Group &g) const { return network_.populations[g.given.source]; }

    void take_zero_out(const Group &g, int rows, int c0, int32_t *to, size_t to_row) const {
        const int64_t zero = messages(g).zero;
        if (!zero) return;
        for (int c = 0; c < lanes_; c += kLanes, to += kLanes) {
            const auto at_zero =
                Lanes<int32_t>::at(g.sums.data() + c0 + c) * Lanes<int32_t>::all(int32_t(zero));
            for (int r = 0; r < rows; ++r)
                (Lanes<int32_t>::at(to + r * to_row) - at_zero).to(to + r * to_row);
        }
    }

    // Whether the products of a group are added where they are made.
    bool adds_by_itself(int group) const {
        const Group &g = network_.groups[group];
        return g.one_to_one() && work_.groups[group].maps.size() == 1 && !messages(g).zero;
    }

    const snn_network &network_;
    const Population &p_;
    const int lanes_;
    Workspace &work_;
};

}  // namespace snn
