// Arrays that begin on a cache line, and scratch: arrays whose content is worth nothing outside the
// computation that fills them.
//
// Scratch is used again and again without being cleared, so whoever reads what nobody filled gets
// what an earlier layer left there, which may be the right number by chance. The debug build with
// SNN_ENGINE_SENTINEL leaves nothing to chance: before each use it fills scratch with numbers that
// no sum survives, and tells memcheck and MemorySanitizer that they are not initialized.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <type_traits>
#include <vector>

#if defined(SNN_ENGINE_SENTINEL)
#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#include <sanitizer/msan_interface.h>
#define SNN_MEMORY_SANITIZER
#endif
#endif
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define SNN_MEMCHECK
#endif
#endif

namespace snn {

#if defined(SNN_ENGINE_SENTINEL)
constexpr bool kSentinel = true;
#else
constexpr bool kSentinel = false;
#endif

template <class T>
struct Aligned {  // allocator: rows of weights must not straddle cache lines
    using value_type = T;
    Aligned() = default;
    template <class U>
    Aligned(const Aligned<U> &) {}
    T *allocate(size_t n) {
        return static_cast<T *>(::operator new(n * sizeof(T), std::align_val_t(64)));
    }
    void deallocate(T *p, size_t) { ::operator delete(p, std::align_val_t(64)); }
    template <class U>
    bool operator==(const Aligned<U> &) const {
        return true;
    }
    template <class U>
    bool operator!=(const Aligned<U> &) const {
        return false;
    }
};
template <class T>
using Array = std::vector<T, Aligned<T>>;

// In the debug build, makes n numbers worthless; nothing otherwise. Neighbours have different signs
// and magnitudes, so that they do not cancel under weights that add up to 0.
template <class T>
void spoil(T *scratch, size_t n) {
    static_assert(std::is_trivially_copyable_v<T>);
    if constexpr (kSentinel) {
        if (!n) return;
#if defined(SNN_MEMORY_SANITIZER)
        __msan_poison(scratch, n * sizeof(T));
        return;
#endif
        T numbers[2];
        std::memset(numbers, 0xa5, sizeof(T));
        std::memset(numbers + 1, 0x5a, sizeof(T));
        for (size_t i = 0; i < n; ++i) scratch[i] = numbers[i % 2];
#if defined(SNN_MEMCHECK)
        (void)VALGRIND_MAKE_MEM_UNDEFINED(scratch, n * sizeof(T));
#endif
    }
}
template <class T, class Allocator>
void spoil(std::vector<T, Allocator> &scratch) {
    spoil(scratch.data(), scratch.size());
}

// Room for at least n numbers that are about to be computed. Scratch only ever grows: making a
// vector smaller and larger again would clear it each time.
template <class T, class Allocator>
void grow(std::vector<T, Allocator> &scratch, size_t n) {
    if (scratch.size() < n) scratch.resize(n);
    spoil(scratch);
}

}  // namespace snn
