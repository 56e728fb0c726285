// Which builds this CPU can run. Compiled into the baseline library alone.
//
// CMakeLists.txt hands over the features that each build was compiled for, so that what is asked
// here and what the compiler was told are one list. The CPU is asked directly: what
// __builtin_cpu_supports knows differs between compilers, and on Windows it needs a runtime library
// that is not linked by default.
#include "engine.h"

#include <cstring>

#if defined(__x86_64__) && defined(SNN_ENGINE_AVX2_FEATURES)

#include <cpuid.h>

namespace {

enum Register { EBX, ECX, EDX };

// What the operating system has to save on a task switch: bits of XCR0.
constexpr unsigned long long NOTHING = 0;
constexpr unsigned long long YMM = 0x06;
#if defined(__APPLE__)
// macOS switches the 512-bit state on at its first use, so before that XCR0 does not show it.
constexpr unsigned long long ZMM = YMM;
#else
constexpr unsigned long long ZMM = 0xe6;
#endif

struct Feature {
    const char *name;
    unsigned leaf;
    Register word;
    int bit;
    unsigned long long state;
};

// Intel's manual, volume 2, CPUID; AMD's, volume 3, for leaf 0x80000001.
constexpr Feature FEATURES[] = {
    {"sse3", 1, ECX, 0, NOTHING},
    {"ssse3", 1, ECX, 9, NOTHING},
    {"fma", 1, ECX, 12, YMM},
    {"cx16", 1, ECX, 13, NOTHING},
    {"sse4.1", 1, ECX, 19, NOTHING},
    {"sse4.2", 1, ECX, 20, NOTHING},
    {"movbe", 1, ECX, 22, NOTHING},
    {"popcnt", 1, ECX, 23, NOTHING},
    {"avx", 1, ECX, 28, YMM},
    {"f16c", 1, ECX, 29, YMM},
    {"bmi", 7, EBX, 3, NOTHING},
    {"avx2", 7, EBX, 5, YMM},
    {"bmi2", 7, EBX, 8, NOTHING},
    {"avx512f", 7, EBX, 16, ZMM},
    {"avx512dq", 7, EBX, 17, ZMM},
    {"avx512cd", 7, EBX, 28, ZMM},
    {"avx512bw", 7, EBX, 30, ZMM},
    {"avx512vl", 7, EBX, 31, ZMM},
    {"avx512vbmi", 7, ECX, 1, ZMM},
    {"avx512vbmi2", 7, ECX, 6, ZMM},
    {"avx512vnni", 7, ECX, 11, ZMM},
    {"avx512bitalg", 7, ECX, 12, ZMM},
    {"avx512vpopcntdq", 7, ECX, 14, ZMM},
    {"lzcnt", 0x80000001, ECX, 5, NOTHING},
};

// XCR0; 0 where the system does not use XSAVE, and so saves none of these states.
unsigned long long saved_states() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned OSXSAVE = 1u << 27;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE)) return 0;
    unsigned low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<unsigned long long>(high) << 32) | low;
}

bool has(const Feature &feature) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid_count(feature.leaf, 0, &a, &b, &c, &d)) return false;
    const unsigned word = feature.word == EBX ? b : feature.word == ECX ? c : d;
    return (word >> feature.bit & 1u) && (saved_states() & feature.state) == feature.state;
}

bool has_named(const char *name, std::size_t length) {
    for (const Feature &feature : FEATURES)
        if (std::strlen(feature.name) == length && !std::strncmp(feature.name, name, length))
            return has(feature);
    return false;  // a feature that this table does not know is one that nobody may rely on
}

// All of a list with commas between.
bool has_all(const char *names) {
    while (*names) {
        const std::size_t length = std::strcspn(names, ",");
        if (!has_named(names, length)) return false;
        names += length + (names[length] == ',');
    }
    return true;
}

}  // namespace

int snn_engine_cpu_supports(const char *build) {
    if (!std::strcmp(build, "baseline")) return 1;
    if (!std::strcmp(build, "avx2")) return has_all(SNN_ENGINE_AVX2_FEATURES);
    if (!std::strcmp(build, "avx512")) return has_all(SNN_ENGINE_AVX512_FEATURES);
    return 0;
}

#else

int snn_engine_cpu_supports(const char *build) {
    return !std::strcmp(build, "baseline");
}

#endif
