// The C ABI: preparing a network, and running batches of samples through it.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <stdexcept>

#include "activity.hpp"
#include "threads.hpp"
#include "workspace.hpp"

struct snn_state {
    const snn_network &network;
    snn::Team team;
    bool begun = false;
};

namespace snn {
namespace {

using Clock = std::chrono::steady_clock;

// What must be left to do for it to be worth to wake another thread, and how long a sample must be
// for threads to share it: they meet after each population.
constexpr int64_t kWorthWaking = 100'000, kWorthSharing = 2'000'000;  // ns

// A team for the time of a batch. Teams are kept from call to call: allocating one costs more than
// a small network's sample.
class Borrowed {
  public:
    explicit Borrowed(snn_network &network) : network_(network) {
        {
            const std::lock_guard<std::mutex> lock(network.mutex);
            if (!network.free.empty()) {
                team_ = std::move(network.free.back());
                network.free.pop_back();
            }
        }
        if (!team_) team_ = std::make_unique<Team>(network, false);
    }
    ~Borrowed() {
        const std::lock_guard<std::mutex> lock(network_.mutex);
        try {
            network_.free.push_back(std::move(team_));
        } catch (const std::bad_alloc &) {
            // Then it is freed.
        }
    }
    Team &team() { return *team_; }

  private:
    snn_network &network_;
    std::unique_ptr<Team> team_;
};

// Samples of a batch, and who computes them.
class Batch {
  public:
    Batch(snn_network &network, const snn_batch &batch) : network_(network), batch_(batch) {}

    // Each sample begins at rest: a thread for each, and for the last ones several.
    void run() {
        const int64_t n = batch_.n_samples, threads = std::max(1, batch_.n_threads);
        const int64_t known = network_.sample_ns, rest = n % threads;
        // Sharing loses a fifth, at most.
        const bool shared = known > kWorthSharing && 5 * rest < 4 * threads;
        const int64_t apart = batch_.shared ? 0 : shared ? n - rest : n;
        int64_t helpers = std::min(threads, apart) - 1;
        if (known && known * apart < kWorthWaking) helpers = 0;
        if (apart) Crew::of_process().run(int(helpers), [&](int) { take_samples(apart); });
        if (apart == n) return;
        Borrowed borrowed(network_);
        clear_activity(borrowed.team().state());
        for (int64_t i = apart; i < n; ++i)
            run_sample(network_, batch_, i, false, int(threads), borrowed.team());
        add_activity(borrowed.team().state());
    }

    // Each sample goes on from where the one before it has ended.
    void stream(snn_state &state) {
        clear_activity(state.team.state());
        const bool shared = batch_.shared || network_.sample_ns > kWorthSharing;
        const int threads = shared ? std::max(1, batch_.n_threads) : 1;
        for (int64_t i = 0; i < batch_.n_samples; ++i) {
            const Clock::time_point begun = Clock::now();
            run_sample(network_, batch_, i, state.begun, threads, state.team);
            state.begun = true;
            if (threads == 1) note((Clock::now() - begun) / std::chrono::nanoseconds(1));
        }
        add_activity(state.team.state());
    }

  private:
    void take_samples(int64_t end) {
        Borrowed borrowed(network_);
        State &state = borrowed.team().state();
        clear_activity(state);
        const Clock::time_point begun = Clock::now();
        int64_t taken = 0;
        for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < end; ++taken)
            run_sample(network_, batch_, i, false, 1, borrowed.team());
        if (!taken) return;
        note((Clock::now() - begun) / std::chrono::nanoseconds(1) / taken);
        add_activity(state);
    }

    // The least that was found lately: a busy machine only makes it longer.
    void note(int64_t sample_ns) {
        const int64_t known = network_.sample_ns;
        network_.sample_ns = known ? std::min(known + known / 8 + 1, sample_ns) : sample_ns;
    }

    void clear_activity(State &state) {
        if (!batch_.activity) return;
        for (size_t i = 0; i < network_.populations.size(); ++i) {
            Tally &tally = state.messages[i].tally;
            if (network_.populations[i].spikes() || tally.spilled()) {
                std::fill(state.counts[i].begin(), state.counts[i].end(), 0);
                std::fill(state.sums[i].begin(), state.sums[i].end(), 0);
            }
            tally.clear();  // of the batch before
        }
    }

    void add_activity(State &state) {
        if (!batch_.activity) return;
        const std::lock_guard<std::mutex> lock(adding_);
        for (size_t i = 0; i < network_.populations.size(); ++i) {
            if (!batch_.activity[i]) continue;
            const Population &p = network_.populations[i];
            const int64_t times = p.given.held ? network_.n_steps : 1;
            const auto add = [&](const auto &totals) {
                natural_order(
                    p.shape, [from = totals.data()](size_t lane) { return int64_t(from[lane]); },
                    [to = batch_.activity[i], times](size_t neuron, int64_t n) {
                        to[neuron] += times * n;
                    });
            };
            Tally &tally = state.messages[i].tally;
            if (p.values() && !tally.spilled()) {
                tally.with_counters(add);
                continue;
            }
            settle(p, state.messages[i], state.counts[i], state.sums[i]);
            p.counted_by_value() ? add(state.sums[i]) : add(state.counts[i]);
        }
    }

    snn_network &network_;
    const snn_batch &batch_;
    alignas(64) std::atomic<int64_t> next_{0};  // of the samples
    alignas(64) std::mutex adding_;
};

// What a function of the C ABI returns where a library throws.
template <class F>
int guarded(const F &f) {
    try {
        f();
        return 0;
    } catch (const std::bad_alloc &) {
        return 1;
    } catch (const OutOfRange &) {
        return 2;
    }
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

snn_state *snn_engine_state_new(const snn_network *network) {
    try {
        return new snn_state{*network, snn::Team(*network, true)};
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

void snn_engine_state_free(snn_state *state) {
    delete state;
}

int snn_engine_run(snn_network *network, const snn_batch *batch) {
    return snn::guarded([&] {
        snn::Batch samples(*network, *batch);
        if (batch->state)
            samples.stream(*batch->state);
        else
            samples.run();
    });
}
