// Threads that wait for work, shared by all networks of the process.
//
// Starting a thread takes longer than many samples do, and on a busy machine far longer than that.
// So threads are kept, whoever has work begins it at once by itself, and the others join when they
// are awake; those that are not by the time all is done are called off and never waited for.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>

namespace snn {

class Crew {
  public:
    // That of this process: a process that was forked begins with one of its own.
    static Crew &of_process();

    // Calls work(0) in this thread, and work(1), work(2)... in up to `helpers` others at the same
    // time. Each call takes parts of the work until none is left. Throws what one has thrown.
    void run(int helpers, const std::function<void(int)> &work);

  private:
    struct Offer {
        const std::function<void(int)> &work;
        int helpers;
        int begun = 0;
        int active = 0;  // that have begun and not ended
        std::exception_ptr error;
        std::condition_variable left;
    };

    void serve();

    std::mutex mutex_;
    std::condition_variable offered_;
    std::deque<Offer *> offers_;
    int size_ = 0;
};

}  // namespace snn
