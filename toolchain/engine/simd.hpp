// Vectors of integers for whatever instruction set this file is compiled for.
//
// Everything is written with the vector extensions of GCC and Clang; intrinsics stand only where
// the extensions have no word for an instruction (masks, byte products). `kBytes` is the width of a
// register. `Lanes<T>` is 16 integers in as many registers as they take: the granule of channels.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace snn {

#if defined(__AVX512BW__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

constexpr int kLanes = 16;  // channels that are handled together, at least

#define SNN_INLINE inline __attribute__((always_inline))

template <class T, int Bytes>
struct VectorOf {
    typedef T type __attribute__((vector_size(Bytes)));
    typedef T unaligned __attribute__((vector_size(Bytes), aligned(1), may_alias));
};
template <class T, int Bytes>
using Vector = typename VectorOf<T, Bytes>::type;

template <class V>
SNN_INLINE V load(const void *from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}
template <class V>
SNN_INLINE void store(void *to, V v) {
    std::memcpy(to, &v, sizeof v);
}

#if defined(__aarch64__)
// The lowest byte of each of 16 integers. Every second element, again and again: the halves of
// little-endian integers that are kept are the low ones.
template <class V>
SNN_INLINE uint8x16_t low_bytes_of(const V (&r)[4]) {
    static_assert(sizeof(V) == 16);
    return vuzp1q_u8(vreinterpretq_u8_u16(vuzp1q_u16((uint16x8_t)r[0], (uint16x8_t)r[1])),
                     vreinterpretq_u8_u16(vuzp1q_u16((uint16x8_t)r[2], (uint16x8_t)r[3])));
}
template <class V>
SNN_INLINE uint8x16_t low_bytes_of(const V (&r)[8]) {
    static_assert(sizeof(V) == 16);
    uint32x4_t halves[4];
    for (int i = 0; i < 4; ++i)
        halves[i] = vuzp1q_u32((uint32x4_t)r[2 * i], (uint32x4_t)r[2 * i + 1]);
    return low_bytes_of(halves);
}
#endif

// 16 integers of type T.
template <class T>
struct Lanes {
    static constexpr int kRegister =
        kBytes < kLanes * int(sizeof(T)) ? kBytes : kLanes * int(sizeof(T));
    static constexpr int kPer = kRegister / int(sizeof(T));
    static constexpr int kCount = kLanes / kPer;
    using Register = Vector<T, kRegister>;
    Register r[kCount];

    static SNN_INLINE Lanes all(T x) {
        Lanes l;
        for (auto &v : l.r) v = Register{} + x;
        return l;
    }
    static SNN_INLINE Lanes at(const T *p) {
        Lanes l;
        for (int i = 0; i < kCount; ++i) l.r[i] = load<Register>(p + i * kPer);
        return l;
    }
    // Widened from narrower integers.
    template <class A>
    static SNN_INLINE Lanes from(const A *p) {
        if constexpr (sizeof(A) == sizeof(T)) {
            return at(reinterpret_cast<const T *>(p));
#if defined(__AVX512BW__)
        } else if constexpr (sizeof(A) == 2 && sizeof(T) == 4) {
            return {{(Register)_mm512_cvtepi16_epi32(load<__m256i>(p))}};
        } else if constexpr (sizeof(A) == 1 && sizeof(T) == 4) {
            return {{(Register)_mm512_cvtepu8_epi32(load<__m128i>(p))}};
#elif defined(__AVX2__)
        } else if constexpr (sizeof(A) == 2 && sizeof(T) == 4) {
            return {{(Register)_mm256_cvtepi16_epi32(load<__m128i>(p)),
                     (Register)_mm256_cvtepi16_epi32(load<__m128i>(p + 8))}};
#endif
        } else {
            Lanes l;
            using Narrow = Vector<A, kPer *int(sizeof(A))>;
            for (int i = 0; i < kCount; ++i)
                l.r[i] = __builtin_convertvector(load<Narrow>(p + i * kPer), Register);
            return l;
        }
    }
    SNN_INLINE void to(T *p) const {
        for (int i = 0; i < kCount; ++i) store(p + i * kPer, r[i]);
    }
    // The lowest byte of each.
    SNN_INLINE void low_bytes(uint8_t *p) const {
#if defined(__AVX512BW__)
        if constexpr (sizeof(T) == 4) return store(p, _mm512_cvtepi32_epi8((__m512i)r[0]));
#elif defined(__AVX2__)
        if constexpr (sizeof(T) == 4) {
            const __m256i low = _mm256_set1_epi32(255);
            const __m256i pairs =
                _mm256_permute4x64_epi64(_mm256_packus_epi32(_mm256_and_si256((__m256i)r[0], low),
                                                             _mm256_and_si256((__m256i)r[1], low)),
                                         0xd8);
            return store(p, _mm_packus_epi16(_mm256_castsi256_si128(pairs),
                                             _mm256_extracti128_si256(pairs, 1)));
        }
#elif defined(__aarch64__)
        return vst1q_u8(p, low_bytes_of(r));
#endif
        T v[kLanes];
        to(v);
        for (int i = 0; i < kLanes; ++i) p[i] = uint8_t(v[i]);
    }
};

#define SNN_LANEWISE(op)                                                      \
    template <class T>                                                        \
    SNN_INLINE Lanes<T> operator op(const Lanes<T> &a, const Lanes<T> &b) {   \
        Lanes<T> c;                                                           \
        for (int i = 0; i < Lanes<T>::kCount; ++i) c.r[i] = a.r[i] op b.r[i]; \
        return c;                                                             \
    }
SNN_LANEWISE(+)
SNN_LANEWISE(-)
SNN_LANEWISE(*)
SNN_LANEWISE(/)
SNN_LANEWISE(>>)
#undef SNN_LANEWISE

template <class T>
SNN_INLINE Lanes<T> operator<<(const Lanes<T> &a, int n) {
    Lanes<T> c;
    for (int i = 0; i < Lanes<T>::kCount; ++i) c.r[i] = a.r[i] << T(n);
    return c;
}
template <class T>
SNN_INLINE Lanes<T> operator>>(const Lanes<T> &a, int n) {
    Lanes<T> c;
    for (int i = 0; i < Lanes<T>::kCount; ++i) c.r[i] = a.r[i] >> T(n);
    return c;
}
template <class T>
SNN_INLINE Lanes<T> min(const Lanes<T> &a, const Lanes<T> &b) {
    Lanes<T> c;
    for (int i = 0; i < Lanes<T>::kCount; ++i) c.r[i] = a.r[i] < b.r[i] ? a.r[i] : b.r[i];
    return c;
}
template <class T>
SNN_INLINE Lanes<T> max(const Lanes<T> &a, const Lanes<T> &b) {
    Lanes<T> c;
    for (int i = 0; i < Lanes<T>::kCount; ++i) c.r[i] = a.r[i] > b.r[i] ? a.r[i] : b.r[i];
    return c;
}

// Unsigned factors of lanes, of whose products with numbers that are not negative the upper 32 bits
// are wanted. x86 multiplies every second lane.
struct Factors {
    using L = Lanes<int32_t>;
    using R = L::Register;
    R even[L::kCount], odd[L::kCount];

    SNN_INLINE explicit Factors(const uint32_t *from) {
        for (int i = 0; i < L::kCount; ++i) {
            even[i] = load<R>(from + i * L::kPer);
            odd[i] = (R)((Vector<uint64_t, sizeof(R)>)even[i] >> 32);
        }
    }
    SNN_INLINE L multiply_high(const L &a) const {
        L c;
        for (int i = 0; i < L::kCount; ++i) {
#if defined(__AVX512BW__)
            const __m512i v = (__m512i)a.r[i];
            const __m512i low = _mm512_mul_epu32(v, (__m512i)even[i]);
            const __m512i high = _mm512_mul_epu32(_mm512_srli_epi64(v, 32), (__m512i)odd[i]);
            c.r[i] = (R)_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(low, 32), high);
#elif defined(__AVX2__)
            const __m256i v = (__m256i)a.r[i];
            const __m256i low = _mm256_mul_epu32(v, (__m256i)even[i]);
            const __m256i high = _mm256_mul_epu32(_mm256_srli_epi64(v, 32), (__m256i)odd[i]);
            c.r[i] = (R)_mm256_blend_epi32(_mm256_srli_epi64(low, 32), high, 0xaa);
#elif defined(__SSE2__)
            const __m128i v = (__m128i)a.r[i];
            const __m128i low = _mm_mul_epu32(v, (__m128i)even[i]);
            const __m128i high = _mm_mul_epu32(_mm_srli_epi64(v, 32), (__m128i)odd[i]);
            c.r[i] = (R)_mm_or_si128(_mm_srli_epi64(low, 32),
                                     _mm_and_si128(high, _mm_set1_epi64x(~0xffffffffll)));
#elif defined(__aarch64__)
            const uint32x4_t v = (uint32x4_t)a.r[i], by = (uint32x4_t)even[i];
            c.r[i] =
                (R)vuzp2q_u32(vreinterpretq_u32_u64(vmull_u32(vget_low_u32(v), vget_low_u32(by))),
                              vreinterpretq_u32_u64(vmull_high_u32(v, by)));
#else
            for (int j = 0; j < L::kPer; ++j)
                c.r[i][j] = int32_t(uint64_t(a.r[i][j]) * uint32_t(even[i][j]) >> 32);
#endif
        }
        return c;
    }
};

// One truth value per lane.
template <class T>
struct Mask {
    Lanes<T> all;  // -1 or 0

    SNN_INLINE uint16_t bits() const {
#if defined(__aarch64__)
        // NEON has no instruction that gathers signs: each byte keeps the bit of its lane, and the
        // bytes of each half are added up.
        constexpr uint8_t kBit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
        const uint8x16_t bytes = vandq_u8(low_bytes_of(all.r), vld1q_u8(kBit));
        return uint16_t(vaddv_u8(vget_low_u8(bytes)) | vaddv_u8(vget_high_u8(bytes)) << 8);
#else
        constexpr int n = Lanes<T>::kPer;
        uint32_t bits = 0;
        for (int i = 0; i < Lanes<T>::kCount; ++i) {
            auto v = all.r[i];
#if defined(__AVX2__)
            if constexpr (sizeof(T) == 4)
                bits |= uint32_t(_mm256_movemask_ps((__m256)v)) << (i * n);
            else
                bits |= uint32_t(_mm256_movemask_pd((__m256d)v)) << (i * n);
#elif defined(__SSE2__)
            if constexpr (sizeof(T) == 4)
                bits |= uint32_t(_mm_movemask_ps((__m128)v)) << (i * n);
            else
                bits |= uint32_t(_mm_movemask_pd((__m128d)v)) << (i * n);
#else
            for (int j = 0; j < n; ++j) bits |= uint32_t(v[j] & 1) << (i * n + j);
#endif
        }
        return uint16_t(bits);
#endif
    }
};
template <class T>
SNN_INLINE Mask<T> operator>=(const Lanes<T> &a, const Lanes<T> &b) {
    Mask<T> m;
    for (int i = 0; i < Lanes<T>::kCount; ++i) m.all.r[i] = a.r[i] >= b.r[i];
    return m;
}
template <class T>
SNN_INLINE Mask<T> operator>(const Lanes<T> &a, const Lanes<T> &b) {
    Mask<T> m;
    for (int i = 0; i < Lanes<T>::kCount; ++i) m.all.r[i] = a.r[i] > b.r[i];
    return m;
}
template <class T>
SNN_INLINE Mask<T> operator&(const Mask<T> &a, const Mask<T> &b) {
    Mask<T> m;
    for (int i = 0; i < Lanes<T>::kCount; ++i) m.all.r[i] = a.all.r[i] & b.all.r[i];
    return m;
}
template <class T>
SNN_INLINE Lanes<T> subtract_where(const Mask<T> &m, const Lanes<T> &a, const Lanes<T> &b) {
    Lanes<T> c;
    for (int i = 0; i < Lanes<T>::kCount; ++i) c.r[i] = a.r[i] - (m.all.r[i] & b.r[i]);
    return c;
}
template <class T>
SNN_INLINE Lanes<T> zero_where(const Mask<T> &m, const Lanes<T> &a) {
    Lanes<T> c;
    for (int i = 0; i < Lanes<T>::kCount; ++i) c.r[i] = a.r[i] & ~m.all.r[i];
    return c;
}

// a + b in the lanes whose bit is set.
SNN_INLINE Lanes<int32_t> add_where(uint16_t bits, const Lanes<int32_t> &b,
                                    const Lanes<int32_t> &a) {
    using R = Lanes<int32_t>::Register;
    Lanes<int32_t> c;
#if defined(__AVX512BW__)
    c.r[0] = (R)_mm512_mask_add_epi32((__m512i)a.r[0], bits, (__m512i)a.r[0], (__m512i)b.r[0]);
#else
    for (int i = 0; i < Lanes<int32_t>::kCount; ++i) {
        R bit;
        for (int j = 0; j < Lanes<int32_t>::kPer; ++j) bit[j] = 1 << (i * Lanes<int32_t>::kPer + j);
        const R all = R{} + int32_t(bits);
        c.r[i] = a.r[i] + (((all & bit) == bit) & b.r[i]);
    }
#endif
    return c;
}

#if defined(__AVX512BW__)
// AVX-512 has mask registers: no vector of truth values is ever made.
template <>
struct Mask<int32_t> {
    __mmask16 m;
    SNN_INLINE uint16_t bits() const { return m; }
};
template <>
SNN_INLINE Mask<int32_t> operator>=(const Lanes<int32_t> &a, const Lanes<int32_t> &b) {
    return {_mm512_cmpge_epi32_mask((__m512i)a.r[0], (__m512i)b.r[0])};
}
template <>
SNN_INLINE Mask<int32_t> operator>(const Lanes<int32_t> &a, const Lanes<int32_t> &b) {
    return {_mm512_cmpgt_epi32_mask((__m512i)a.r[0], (__m512i)b.r[0])};
}
template <>
SNN_INLINE Mask<int32_t> operator&(const Mask<int32_t> &a, const Mask<int32_t> &b) {
    return {__mmask16(a.m & b.m)};
}
template <>
SNN_INLINE Lanes<int32_t> subtract_where(const Mask<int32_t> &m, const Lanes<int32_t> &a,
                                         const Lanes<int32_t> &b) {
    using R = Lanes<int32_t>::Register;
    return {{(R)_mm512_mask_sub_epi32((__m512i)a.r[0], m.m, (__m512i)a.r[0], (__m512i)b.r[0])}};
}
template <>
SNN_INLINE Lanes<int32_t> zero_where(const Mask<int32_t> &m, const Lanes<int32_t> &a) {
    using R = Lanes<int32_t>::Register;
    return {{(R)_mm512_maskz_mov_epi32(__mmask16(~m.m), (__m512i)a.r[0])}};
}
template <>
struct Mask<int64_t> {
    __mmask8 m[2];
    SNN_INLINE uint16_t bits() const { return uint16_t(m[0] | (m[1] << 8)); }
};
template <>
SNN_INLINE Mask<int64_t> operator>=(const Lanes<int64_t> &a, const Lanes<int64_t> &b) {
    return {{_mm512_cmpge_epi64_mask((__m512i)a.r[0], (__m512i)b.r[0]),
             _mm512_cmpge_epi64_mask((__m512i)a.r[1], (__m512i)b.r[1])}};
}
template <>
SNN_INLINE Mask<int64_t> operator>(const Lanes<int64_t> &a, const Lanes<int64_t> &b) {
    return {{_mm512_cmpgt_epi64_mask((__m512i)a.r[0], (__m512i)b.r[0]),
             _mm512_cmpgt_epi64_mask((__m512i)a.r[1], (__m512i)b.r[1])}};
}
template <>
SNN_INLINE Mask<int64_t> operator&(const Mask<int64_t> &a, const Mask<int64_t> &b) {
    return {{__mmask8(a.m[0] & b.m[0]), __mmask8(a.m[1] & b.m[1])}};
}
template <>
SNN_INLINE Lanes<int64_t> subtract_where(const Mask<int64_t> &m, const Lanes<int64_t> &a,
                                         const Lanes<int64_t> &b) {
    using R = Lanes<int64_t>::Register;
    Lanes<int64_t> c;
    for (int i = 0; i < 2; ++i)
        c.r[i] =
            (R)_mm512_mask_sub_epi64((__m512i)a.r[i], m.m[i], (__m512i)a.r[i], (__m512i)b.r[i]);
    return c;
}
template <>
SNN_INLINE Lanes<int64_t> zero_where(const Mask<int64_t> &m, const Lanes<int64_t> &a) {
    using R = Lanes<int64_t>::Register;
    Lanes<int64_t> c;
    for (int i = 0; i < 2; ++i)
        c.r[i] = (R)_mm512_maskz_mov_epi64(__mmask8(~m.m[i]), (__m512i)a.r[i]);
    return c;
}
#endif

}  // namespace snn
