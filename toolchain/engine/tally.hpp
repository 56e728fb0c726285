// What has been counted of values, in counters so narrow that a whole map of them stays in the
// cache: a sample adds to each of them once.
#pragma once

#include <algorithm>

#include "network.hpp"

namespace snn {

class Tally {
  public:
    void resize(size_t lanes) { recent_.assign(lanes, 0); }

    // Adds `of(lane)`, `most` at most, to each lane's counter; counters that might run over are
    // emptied into `totals` before.
    template <class Of, class Total>
    void add(unsigned most, Of of, Array<Total> &totals) {
        if (most > kLargest - added_) empty(totals);
        added_ += most;
        uint16_t *__restrict to = recent_.data();
        for (size_t i = 0, n = recent_.size(); i < n; ++i) to[i] = uint16_t(to[i] + of(i));
    }

    // Adds all counters to `totals`, and begins again.
    template <class Total>
    void empty(Array<Total> &totals) {
        if (!added_) return;
        for (size_t i = 0, n = recent_.size(); i < n; ++i) totals[i] += recent_[i];
        std::fill(recent_.begin(), recent_.end(), uint16_t(0));
        added_ = 0;
        spilled_ = true;
    }

    // Whether totals hold a part of what has been counted since `clear`: whoever adds to them
    // himself says so.
    bool spilled() const { return spilled_; }
    void spill() { spilled_ = true; }

    // The counters; all that there is, if nothing was spilled.
    const Array<uint16_t> &counters() const { return recent_; }

    // Forgets what has been counted.
    void clear() {
        if (added_) std::fill(recent_.begin(), recent_.end(), uint16_t(0));
        added_ = 0;
        spilled_ = false;
    }

  private:
    static constexpr unsigned kLargest = 65535;

    Array<uint16_t> recent_;
    unsigned added_ = 0;  // to each counter, at most
    bool spilled_ = false;
};

// How many of a byte's digits are 1, added up in pairs, fours and all.
SNN_INLINE uint8_t digits(uint8_t byte) {
    const uint8_t twos = uint8_t(byte - (byte >> 1 & 0x55));
    const uint8_t fours = uint8_t((twos & 0x33) + (twos >> 2 & 0x33));
    return uint8_t((fours + (fours >> 4)) & 0x0f);
}

}  // namespace snn
