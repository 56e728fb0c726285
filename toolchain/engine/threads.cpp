// Threads that wait for work.
#include "threads.hpp"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace snn {
namespace {

long process() {
#if defined(_WIN32)
    return 0;  // nothing forks
#else
    return long(getpid());
#endif
}

struct Owned {
    Crew crew;
    const long of = process();
};

}  // namespace

Crew &Crew::of_process() {
    // Never freed: at the end of the process its threads may still be waiting in it. In a forked
    // process they are not there, and what they held may be locked for ever.
    static std::atomic<Owned *> kept{nullptr};
    Owned *found = kept.load();
    while (!found || found->of != process()) {
        auto made = new Owned;
        if (kept.compare_exchange_strong(found, made)) return made->crew;
        delete made;
    }
    return found->crew;
}

void Crew::run(int helpers, const std::function<void(int)> &work) {
    if (helpers < 1) return work(0);
    Offer offer{work, helpers, 0, 0, nullptr, {}};
    std::unique_lock<std::mutex> lock(mutex_);
    try {
        for (; size_ < helpers; ++size_) std::thread(&Crew::serve, this).detach();
    } catch (const std::system_error &) {
        // The system has no more of them: fewer do the same.
    }
    offers_.push_back(&offer);
    lock.unlock();
    for (int i = 0; i < helpers; ++i) offered_.notify_one();
    std::exception_ptr error;
    try {
        work(0);
    } catch (...) {
        error = std::current_exception();
    }
    lock.lock();
    offers_.erase(std::remove(offers_.begin(), offers_.end(), &offer), offers_.end());
    offer.left.wait(lock, [&] { return !offer.active; });
    if (!error) error = offer.error;
    if (error) std::rethrow_exception(error);
}

void Crew::serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        offered_.wait(lock, [&] { return !offers_.empty(); });
        Offer &offer = *offers_.front();
        ++offer.active;
        const int index = ++offer.begun;
        if (index == offer.helpers) offers_.pop_front();
        lock.unlock();
        std::exception_ptr error;
        try {
            offer.work(index);
        } catch (...) {
            error = std::current_exception();
        }
        lock.lock();
        if (error) offer.error = error;
        if (!--offer.active) offer.left.notify_one();
    }
}

}  // namespace snn
