// Replays recorded runs through the C ABI and compares every number with what was recorded.
//
//     snn_engine_replay LIBRARY [CASES [DENSE_ABOVE]]
//
// There is no Python in this process, so that it runs under memcheck, MemorySanitizer and emulators
// of other processors. tests/engine_replay.py writes the cases: networks, stimuli and what the
// reference computes for them. Prints which builds this CPU runs, where the library knows, and how
// much was equal; the exit status is 0 only if all of it was. With DENSE_ABOVE, each case is run
// once, by one thread, and only its outputs are asked for: so that what a run costs can be counted.
#include <dlfcn.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "engine.h"

namespace {

[[noreturn]] void fail(const char *format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    std::vfprintf(stderr, format, arguments);
    va_end(arguments);
    std::fputc('\n', stderr);
    std::exit(1);
}

// The functions of a library.
struct Library {
    explicit Library(const char *path) : handle(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
        if (!handle) fail("%s", dlerror());
        find(abi, "snn_engine_abi");
        find(build, "snn_engine_build");
        find(network_new, "snn_engine_network_new");
        find(network_free, "snn_engine_network_free");
        find(run, "snn_engine_run");
        if (abi() != SNN_ENGINE_ABI) fail("ABI %d instead of %d", abi(), SNN_ENGINE_ABI);
        cpu_supports =
            reinterpret_cast<decltype(cpu_supports)>(dlsym(handle, "snn_engine_cpu_supports"));
    }

    void *handle;
    decltype(&snn_engine_abi) abi;
    decltype(&snn_engine_build) build;
    decltype(&snn_engine_network_new) network_new;
    decltype(&snn_engine_network_free) network_free;
    decltype(&snn_engine_run) run;
    decltype(&snn_engine_cpu_supports) cpu_supports;

  private:
    template <class F>
    void find(F &function, const char *name) {
        function = reinterpret_cast<F>(dlsym(handle, name));
        if (!function) fail("no function %s", name);
    }
};

class Reader {
  public:
    explicit Reader(const char *path) : file_(std::fopen(path, "rb")) {
        if (!file_) fail("cannot open %s", path);
    }
    ~Reader() { std::fclose(file_); }

    // A count, and so many entries.
    template <class T>
    std::vector<T> list() {
        int64_t n = 0;
        read(&n, sizeof n);
        std::vector<T> values(n);
        if (n) read(values.data(), n * sizeof(T));
        return values;
    }
    int64_t number() {
        int64_t n = 0;
        read(&n, sizeof n);
        return n;
    }

  private:
    void read(void *to, size_t bytes) {
        if (std::fread(to, 1, bytes, file_) != bytes) fail("the file of cases is too short");
    }

    std::FILE *file_;
};

// What a run gives for each population, as bytes; nothing where nothing was recorded.
struct Results {
    std::vector<std::vector<char>> outputs, activity, traces;
};

struct Case {
    explicit Case(Reader &from)
        : name(from.list<char>()),
          n_steps(int32_t(from.number())),
          populations(from.list<snn_population>()) {
        // In place of addresses the structures hold those that were valid when they were written.
        for (snn_population &p : populations) {
            p.bias = keep(from.list<int64_t>());
            p.threshold = keep(from.list<int64_t>());
            p.initial = keep(from.list<int64_t>());
            p.multiplier = keep(from.list<int64_t>());
            p.shift = keep(from.list<int64_t>());
            p.table = keep(from.list<int64_t>());
        }
        synapses = from.list<snn_synapses>();
        for (snn_synapses &s : synapses) {
            weights.push_back(from.list<int8_t>());
            s.weight = weights.back().data();
            s.indptr = keep(from.list<int64_t>());
            s.indices = keep(from.list<int64_t>());
        }
        n_samples = from.number();
        input_steps = from.number();
        message_bytes = int32_t(from.number());
        messages = from.list<char>();
        for (size_t i = 0; i < populations.size(); ++i) {
            expected.outputs.push_back(from.list<char>());
            expected.activity.push_back(from.list<char>());
            expected.traces.push_back(from.list<char>());
        }
        name.push_back(0);
    }

    std::vector<char> name;
    int32_t n_steps;
    std::vector<snn_population> populations;
    std::vector<snn_synapses> synapses;
    int64_t n_samples, input_steps;
    int32_t message_bytes;
    std::vector<char> messages;
    Results expected;

  private:
    const int64_t *keep(std::vector<int64_t> values) {
        numbers.push_back(std::move(values));
        return numbers.back().empty() ? nullptr : numbers.back().data();
    }

    std::vector<std::vector<int64_t>> numbers;  // what the structures point to
    std::vector<std::vector<int8_t>> weights;
};

// Room for a run's results. The memory is not initialized, unless something is added to it.
class Found {
  public:
    Found(const std::vector<std::vector<char>> &expected, bool added) : expected_(expected) {
        for (const auto &values : expected) {
            memory_.emplace_back(values.empty() ? nullptr : new char[values.size()]);
            if (added && !values.empty()) std::memset(memory_.back().get(), 0, values.size());
        }
        for (auto &values : memory_) pointers_.push_back(values.get());
    }
    template <class T>
    T **pointers() {
        return reinterpret_cast<T **>(pointers_.data());
    }
    // Compares all of it; the number of bytes.
    size_t compare(const Case &given, double dense_above, const char *what) const {
        size_t bytes = 0;
        for (size_t i = 0; i < expected_.size(); ++i) {
            const std::vector<char> &expected = expected_[i];
            for (size_t k = 0; k < expected.size(); ++k)
                if (memory_[i][k] != expected[k])
                    fail("%s, dense above %g: %s of population %zu differ at byte %zu of %zu",
                         given.name.data(), dense_above, what, i, k, expected.size());
            bytes += expected.size();
        }
        return bytes;
    }

  private:
    const std::vector<std::vector<char>> &expected_;
    std::vector<std::unique_ptr<char[]>> memory_;
    std::vector<void *> pointers_;
};

// Always, what was measured for the build, where all fire, never.
constexpr double kDenseAbove[] = {0, -1, 1, 2};

snn_batch batch_of(const Case &given, double dense_above) {
    snn_batch batch{};
    batch.n_samples = given.n_samples;
    batch.input_steps = given.input_steps;
    batch.messages = given.messages.data();
    batch.message_bytes = given.message_bytes;
    batch.dense_above = dense_above;
    return batch;
}

// Runs a network once for outputs alone, with one thread.
size_t replay_plain(const Library &library, snn_network *network, const Case &given,
                    double dense_above) {
    Found outputs(given.expected.outputs, false);
    snn_batch batch = batch_of(given, dense_above);
    batch.outputs = outputs.pointers<int64_t>();
    batch.n_threads = 1;
    if (const int outcome = library.run(network, &batch))
        fail("%s: outcome %d", given.name.data(), outcome);
    return outputs.compare(given, dense_above, "outputs");
}

size_t replay(const Library &library, const Case &given, const double *plain) {
    char message[200];
    snn_network *network = library.network_new(
        given.populations.data(), int32_t(given.populations.size()), given.synapses.data(),
        int32_t(given.synapses.size()), given.n_steps, message, sizeof message);
    if (!network) fail("%s: %s", given.name.data(), message);
    size_t bytes = 0;
    if (plain) {
        bytes = replay_plain(library, network, given, *plain);
        library.network_free(network);
        return bytes;
    }
    int way = 0;
    for (const double dense_above : kDenseAbove) {
        Found outputs(given.expected.outputs, false), activity(given.expected.activity, true),
            traces(given.expected.traces, false);
        snn_batch batch = batch_of(given, dense_above);
        batch.outputs = outputs.pointers<int64_t>();
        batch.activity = activity.pointers<int64_t>();
        batch.traces = traces.pointers<void>();
        // Each way to divide the work once.
        batch.n_threads = 1 + int(way % 3);
        batch.shared = way++ % 2;
        if (const int outcome = library.run(network, &batch))
            fail("%s, dense above %g: outcome %d", given.name.data(), dense_above, outcome);
        bytes += traces.compare(given, dense_above, "messages") +
                 outputs.compare(given, dense_above, "outputs") +
                 activity.compare(given, dense_above, "counts");
    }
    library.network_free(network);
    return bytes;
}

}  // namespace

int main(int n_arguments, char **arguments) {
    if (n_arguments < 2 || n_arguments > 4) fail("snn_engine_replay LIBRARY [CASES [DENSE_ABOVE]]");
    const Library library(arguments[1]);
    if (library.cpu_supports) {
        std::printf("runs here:");
        for (const char *build : {"baseline", "avx2", "avx512"})
            if (library.cpu_supports(build)) std::printf(" %s", build);
        std::printf("\n");
    }
    if (n_arguments == 2) return 0;
    Reader reader(arguments[2]);
    const int64_t n_cases = reader.number();
    const double dense_above = n_arguments == 4 ? std::atof(arguments[3]) : 0;
    const double *plain = n_arguments == 4 ? &dense_above : nullptr;
    size_t bytes = 0;
    for (int64_t i = 0; i < n_cases; ++i) bytes += replay(library, Case(reader), plain);
    std::printf("%s: %lld cases, %zu bytes equal\n", library.build(),
                static_cast<long long>(n_cases), bytes);
    return 0;
}
