// One sample: its window, layer after layer, by one thread or several.
//
// Several threads take parts of the same population, and then all of them the next one. Threads
// join when they are awake: until then, those that are there do all of it.
#include <algorithm>
#include <thread>

#include "activity.hpp"
#include "threads.hpp"
#include "workspace.hpp"

namespace snn {

State::State(const snn_network &network, bool keeps) {
    const size_t n = network.populations.size();
    const int steps = std::min(network.n_steps, kWindow);
    messages.resize(n);
    narrow.resize(n);
    wide.resize(n);
    counts.resize(n);
    sums.resize(n);
    for (size_t i = 0; i < n; ++i) {
        const Population &p = network.populations[i];
        const size_t lanes = p.shape.lanes();
        messages[i].resize(p, steps);
        // Readouts keep their potential to the end; others only where there is a next window.
        const bool goes_on = keeps || network.n_steps > kWindow;
        if (p.readout()) wide[i].resize(lanes);
        const size_t states = p.facts.states * lanes;
        if (goes_on && states) {
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

void State::spoil(const snn_network &network, int population, bool begins) {
    if constexpr (!kSentinel) return;
    snn::spoil(potentials);
    messages[population].spoil(network.populations[population].shape);
    if (!begins) return;
    snn::spoil(narrow[population]);
    snn::spoil(wide[population]);
}

Workspace::Workspace(const snn_network &network, std::shared_ptr<State> of)
    : state(std::move(of)), groups(network.groups.size()) {}

void Workspace::spoil() {
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
}

Team::Team(const snn_network &network, bool keeps) {
    members.push_back(
        std::make_unique<Workspace>(network, std::make_shared<State>(network, keeps)));
}

void Team::grow(const snn_network &network, size_t n) {
    while (members.size() < n)
        members.push_back(std::make_unique<Workspace>(network, members[0]->state));
}

namespace {

// Writes what a population sent during a window into its trace.
void write_trace(const Population &p, const State &state, const Messages &m, const Window &window,
                 int64_t sample, int n_steps, void *trace) {
    const Shape &s = p.shape;
    for (int t = 0; t < window.steps; ++t) {
        const int from = p.given.held ? 0 : t;
        const size_t at = (size_t(sample) * n_steps + window.at + t) * s.neurons();
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
                            state.potentials[t * s.lanes() + (size_t(y) * s.width + x) * s.padded +
                                             c];
                }
    }
}

void take_input(const snn_network &network, size_t index, const snn_batch &batch, int64_t sample,
                const Window &window, State &state) {
    const Population &input = network.populations[index];
    const int steps = input.given.held ? 1 : window.steps;
    for (int t = 0; t < steps; ++t) {
        const int64_t step = batch.input_steps == 1 ? 0 : window.at + t;
        const size_t row = size_t(sample * batch.input_steps + step);
        const size_t at = row * network.message_row + input.message_at;
        Messages &to = state.messages[index];
        const bool taken =
            batch.message_bytes == 1
                ? take(input, static_cast<const int8_t *>(batch.messages) + at, to, t)
                : take(input, static_cast<const int32_t *>(batch.messages) + at, to, t);
        if (!taken) throw OutOfRange();
    }
}

// How often a thread looks whether the others are done, or have gone on, before it sleeps: each
// time it lets others run.
constexpr int kLooks = 64;

// One sample, computed by the thread that leads and by those that help.
class Sample {
  public:
    Sample(const snn_network &network, const snn_batch &batch, int64_t sample, int n_threads,
           Team &team)
        : network_(network), batch_(batch), sample_(sample), n_threads_(n_threads), team_(team) {}

    void lead(bool continues) {
        const Over over{*this};
        const int n_steps = network_.n_steps;
        for (int at = 0; at < n_steps; at += kWindow) {
            window_ = {at + (continues ? kWindow : 0), at, std::min(kWindow, n_steps - at),
                       batch_.activity != nullptr, batch_.dense_above};
            for (size_t i = 0; i < network_.populations.size(); ++i) compute(i);
        }
    }

    void help(int index) {
        Workspace &work = *team_.members[index];
        for (int seen = 0;;) {
            for (int k = 0; k < kLooks && phase_ == seen; ++k) std::this_thread::yield();
            {
                std::unique_lock<std::mutex> lock(mutex_);
                changed_.wait(lock, [&] { return over_ || (open_ && phase_ != seen); });
                if (over_) return;
                seen = phase_;
                ++busy_;
            }
            std::exception_ptr error;
            try {
                compute_parts(work);
            } catch (...) {
                error = std::current_exception();
            }
            const std::lock_guard<std::mutex> lock(mutex_);
            if (error) error_ = error;
            if (!--busy_) changed_.notify_all();
        }
    }

  private:
    // Sends the helpers home, however the sample ends, and waits for those that still compute.
    struct Over {
        Sample &sample;
        ~Over() {
            std::unique_lock<std::mutex> lock(sample.mutex_);
            sample.over_ = true;
            ++sample.phase_;
            sample.changed_.notify_all();
            sample.changed_.wait(lock, [&] { return !sample.busy_; });
        }
    };

    // One population during one window.
    void compute(size_t index) {
        const Population &p = network_.populations[index];
        State &state = team_.state();
        void *trace = batch_.traces ? batch_.traces[index] : nullptr;
        // What is the same at every step has been computed in the first window.
        if (!p.given.held || window_.at == 0) {
            state.spoil(network_, int(index), window_.first == 0);
            if (trace && p.readout())
                grow(state.potentials, size_t(window_.steps) * p.shape.lanes());
            population_ = int(index);
            trace_ = trace != nullptr;
            if (p.input())
                take_input(network_, index, batch_, sample_, window_, state);
            else
                compute_together(p);
            if (!p.readout())
                count(p, state.messages[index], p.given.held ? 1 : window_.steps, window_.counting,
                      state.counts[index], state.sums[index]);
        }
        if (trace)
            write_trace(p, state, state.messages[index], window_, sample_, network_.n_steps, trace);
    }

    void compute_together(const Population &p) {
        // Several parts for each thread: one that comes late takes fewer of them.
        const bool alone = n_threads_ == 1 || p.given.wide || p.relays || p.repeats >= 0;
        parts_.begin(alone ? 1 : 4 * n_threads_);
        if (alone) return compute_parts(*team_.members[0]);
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            open_ = true;
            ++phase_;
        }
        changed_.notify_all();
        compute_parts(*team_.members[0]);
        for (int k = 0; k < kLooks && busy_; ++k) std::this_thread::yield();
        std::unique_lock<std::mutex> lock(mutex_);
        open_ = false;
        changed_.wait(lock, [&] { return !busy_; });
        if (error_) std::rethrow_exception(error_);
    }

    void compute_parts(Workspace &work) {
        work.spoil();
        advance(network_, population_, window_, trace_, parts_, work);
    }

    const snn_network &network_;
    const snn_batch &batch_;
    const int64_t sample_;
    const int n_threads_;
    Team &team_;
    // What is computed now. Set by the thread that leads, while nobody else computes.
    Window window_{};
    int population_ = 0;
    bool trace_ = false;
    Parts parts_;

    std::mutex mutex_;
    std::condition_variable changed_;
    std::atomic<int> phase_{0};  // counts the populations that are computed together
    std::atomic<int> busy_{0};   // helpers that compute
    bool open_ = false;          // whether a helper may begin
    bool over_ = false;
    std::exception_ptr error_;
};

}  // namespace

void run_sample(const snn_network &network, const snn_batch &batch, int64_t index, bool continues,
                int n_threads, Team &team) {
    team.grow(network, size_t(n_threads));
    Sample sample(network, batch, index, n_threads, team);
    Crew::of_process().run(n_threads - 1, [&](int member) {
        if (member)
            sample.help(member);
        else
            sample.lead(continues);
    });
    if (!batch.outputs) return;
    for (size_t i = 0; i < network.populations.size(); ++i)
        if (batch.outputs[i]) {
            const Shape &s = network.populations[i].shape;
            int64_t *to = batch.outputs[i] + index * int64_t(s.neurons());
            natural_order(
                s, [&](size_t lane) { return team.state().wide[i][lane]; },
                [&](size_t neuron, int64_t v) { to[neuron] = v; });
        }
}

}  // namespace snn
