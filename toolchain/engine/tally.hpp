// What has been counted of values, in counters so narrow that a whole map of them stays in the
// cache: a sample adds to each of them once. Small numbers go into bytes first.
#pragma once

#include <algorithm>

#include "network.hpp"

namespace snn {

class Tally {
  public:
    void resize(size_t lanes) {
        bytes_.assign(lanes, 0);
        words_.assign(lanes, 0);
    }

    // Adds `of(lane)`, `most` at most, to each lane's counter; counters that might run over are
    // emptied into `totals` before.
    template <class Of, class Total>
    void add(unsigned most, Of of, Array<Total> &totals) {
        if (most + in_bytes_ + in_words_ > 65535) empty(totals);
        if (most > kSmall) {
            in_words_ += most;
            return each(of, words_);
        }
        if (most + in_bytes_ > 255) pour();
        in_bytes_ += most;
        each(of, bytes_);
    }

    // Adds all counters to `totals`, and begins again.
    template <class Total>
    void empty(Array<Total> &totals) {
        pour();
        if (!in_words_) return;
        for (size_t i = 0, n = words_.size(); i < n; ++i) totals[i] += words_[i];
        std::fill(words_.begin(), words_.end(), uint16_t(0));
        in_words_ = 0;
        spilled_ = true;
    }

    // Whether totals hold a part of what has been counted since `clear`: whoever adds to them
    // himself says so.
    bool spilled() const { return spilled_; }
    void spill() { spilled_ = true; }

    // Calls f with the counters; all that there is, if nothing was spilled.
    template <class F>
    void with_counters(F f) {
        if (in_words_) pour();
        in_words_ ? f(words_) : f(bytes_);
    }

    // Forgets what has been counted.
    void clear() {
        if (in_bytes_) std::fill(bytes_.begin(), bytes_.end(), uint8_t(0));
        if (in_words_) std::fill(words_.begin(), words_.end(), uint16_t(0));
        in_bytes_ = in_words_ = 0;
        spilled_ = false;
    }

  private:
    static constexpr unsigned kSmall = 16;

    template <class Of, class Counter>
    static void each(Of of, Array<Counter> &counters) {
        Counter *__restrict to = counters.data();
        for (size_t i = 0, n = counters.size(); i < n; ++i) to[i] = Counter(to[i] + of(i));
    }

    void pour() {
        if (!in_bytes_) return;
        each([from = bytes_.data()](size_t i) { return from[i]; }, words_);
        std::fill(bytes_.begin(), bytes_.end(), uint8_t(0));
        in_words_ += in_bytes_;
        in_bytes_ = 0;
    }

    Array<uint8_t> bytes_;
    Array<uint16_t> words_;
    unsigned in_bytes_ = 0, in_words_ = 0;  // in each counter, at most
    bool spilled_ = false;
};

// How many of a byte's digits are 1, added up in pairs, fours and all.
SNN_INLINE uint8_t digits(uint8_t byte) {
    const uint8_t twos = uint8_t(byte - (byte >> 1 & 0x55));
    const uint8_t fours = uint8_t((twos & 0x33) + (twos >> 2 & 0x33));
    return uint8_t((fours + (fours >> 4)) & 0x0f);
}

}  // namespace snn
