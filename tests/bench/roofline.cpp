// What one core can do of the three things that an event-driven simulator cannot avoid, with the
// data in the best place and form. Compiled once for each instruction set by roofline.py.
//
//   gather     choose int8 rows of a table by index and add them into int16 registers
//   taps       add a vector of int16 weights where a bit is set (depthwise convolution, pooling)
//   neurons    widen int16 sums, add them to 32-bit potentials, fire, subtract, pack the spikes
//   adds       int16 additions of registers, to state the ceiling of the arithmetic
//
// Vectors are the compiler's own; only what it has no notation for (a mask of lanes) is written
// with intrinsics.
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512BW__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
typedef int16_t Words __attribute__((vector_size(kBytes)));
typedef uint16_t Pairs __attribute__((vector_size(kBytes)));
typedef int32_t Ints __attribute__((vector_size(kBytes)));
typedef int16_t HalfWords __attribute__((vector_size(kBytes / 2)));
constexpr int kInts = kBytes / 4;

template <typename Vector>
static inline Vector load(const void* from) {
  Vector v;
  memcpy(&v, from, sizeof v);
  return v;
}

// int16 to int32; GCC 12 takes a vector apart for __builtin_convertvector.
static inline Ints widened(const int16_t* from) {
#if defined(__AVX512BW__)
  return (Ints)_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i*)from));
#elif defined(__AVX2__)
  return (Ints)_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i*)from));
#elif defined(__SSE4_1__)
  return (Ints)_mm_cvtepi16_epi32(_mm_loadl_epi64((const __m128i*)from));
#else
  return __builtin_convertvector(load<HalfWords>(from), Ints);
#endif
}

// A value that the compiler must have in a register here.
#if defined(__AVX512BW__)
#define KEEP(v) asm volatile("" : "+v"(v))
#elif defined(__x86_64__)
#define KEEP(v) asm volatile("" : "+x"(v))
#else
#define KEEP(v) asm volatile("" : "+w"(v))
#endif

// A row in pieces of kVectors registers. Bytes are added in pairs, as 16-bit words, and the upper ones
// once more by themselves; the lower sums follow by subtraction at the end. Three instructions for
// two vectors of sums; to widen every byte first takes four, and the port that permutes.
template <int kVectors>
static inline void sum_rows(const uint8_t* table, const uint16_t* rows, int n, int width, int16_t* out) {
  for (int c = 0; c < width; c += kVectors * kBytes) {
    Pairs both[kVectors] = {}, upper[kVectors] = {};
    for (int e = 0; e < n; e++) {
      const uint8_t* row = table + size_t(rows[e]) * width + c;
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; i++) {
        Pairs q = load<Pairs>(row + i * kBytes);
        KEEP(q);  // or it is loaded twice
        both[i] += q;
        upper[i] += q >> 8;
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; i++) {
      both[i] -= upper[i] << 8;
      memcpy(out + c + i * kBytes, &both[i], kBytes);
      memcpy(out + c + i * kBytes + kBytes / 2, &upper[i], kBytes);
    }
  }
}

extern "C" {

int vector_bytes() { return kBytes; }

// width must be a multiple of 256; the sums of n rows are formed reps times.
void gather(const uint8_t* table, const uint16_t* rows, int n, int width, int16_t* out, long reps) {
  for (long r = 0; r < reps; r++) sum_rows<4>(table, rows, n, width, out);
}

// n vectors of int16 weights (in the first-level cache), a bit for each lane.
void taps(const int16_t* weights, const uint32_t* bits, int n, int16_t* out, long reps) {
  constexpr int kLanes = kBytes / 2;
  Words sums[4] = {};
#if !defined(__AVX512BW__)
  Words place;
  for (int lane = 0; lane < kLanes; lane++) place[lane] = int16_t(1 << lane);
#endif
  for (long r = 0; r < reps; r++)
    for (int i = 0; i < n; i += 4)
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) {
        const Words w = load<Words>(weights + size_t(i + j) * kLanes);
#if defined(__AVX512BW__)
        sums[j] = (Words)_mm512_mask_add_epi16((__m512i)sums[j], bits[i + j], (__m512i)sums[j],
                                               (__m512i)w);
#else
        const Words mask = Words{} + int16_t(bits[i + j]);
        sums[j] += w & ((mask & place) == place);
#endif
      }
  for (int j = 0; j < 4; j++) memcpy(out + j * kLanes, &sums[j], kBytes);
}

// Potentials of 4 vectors stay in registers for all steps, as in a simulator that runs a layer
// with time innermost; sums come from the first-level cache.
void neurons(const int16_t* sums, int n_steps, int threshold, uint16_t* spikes, long reps) {
  for (long r = 0; r < reps; r++) {
    Ints v[4] = {};
    for (int t = 0; t < n_steps; t++) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        v[i] += widened(sums + (t * 4 + i) * kInts);
#if defined(__AVX512BW__)
        const __m512i limit = _mm512_set1_epi32(threshold);
        const __mmask16 over = _mm512_cmpge_epi32_mask((__m512i)v[i], limit);
        v[i] = (Ints)_mm512_mask_sub_epi32((__m512i)v[i], over, (__m512i)v[i], limit);
        spikes[t * 4 + i] = over;
#else
        const Ints over = v[i] >= threshold;
        v[i] -= over & threshold;
#if defined(__AVX2__)
        spikes[t * 4 + i] = uint16_t(_mm256_movemask_ps((__m256)over));
#elif defined(__SSE2__)
        spikes[t * 4 + i] = uint16_t(_mm_movemask_ps((__m128)over));
#else
        uint16_t fired = 0;
        for (int lane = 0; lane < kInts; lane++) fired |= uint16_t((over[lane] & 1) << lane);
        spikes[t * 4 + i] = fired;
#endif
#endif
      }
    }
  }
}

void adds(int16_t* out, long reps) {
  Words sums[8] = {}, one = Words{} + int16_t(out[0]);
  KEEP(one);
  for (long r = 0; r < reps; r++) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
      sums[i] += one;
      KEEP(sums[i]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) memcpy(out + i * kBytes / 2, &sums[i], kBytes);
}

}  // extern "C"
