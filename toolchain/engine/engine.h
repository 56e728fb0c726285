/* The engine's C ABI: everything that Python calls, through ctypes.
 *
 * All builds of the engine export the same functions. None lets a C++ exception out. */
#ifndef SNN_ENGINE_H
#define SNN_ENGINE_H

/* Raised whenever a function, a struct or the meaning of one changes; `snn_compile.sim.native` states
 * the same number and refuses a library that was built from other sources. */
#define SNN_ENGINE_ABI 10

#if defined(_WIN32)
#define SNN_ENGINE_API __declspec(dllexport)
#else
#define SNN_ENGINE_API __attribute__((visibility("default")))
#endif

#include <stdint.h>

/* Kinds of population. An input sends spikes, of one sign or both, or integers ("values"). Neuron
 * models have the numbers that neurons.hpp gives them. */
enum {
    SNN_INPUT_SPIKES = 0,
    SNN_INPUT_VALUES = 1
};

/* What is counted of the values that a population sends. */
enum {
    SNN_COUNT_MESSAGES = 0, /* those other than 0 */
    SNN_COUNT_VALUES = 1,   /* their sum: a value stands for as many spikes */
    SNN_COUNT_DIGITS = 2    /* their binary digits that are 1: a value stands for a spike of each */
};

/* A population; the equations are in snn_compile/ir/models. Arrays are int64; those per
 * channel have `channels` entries, those per neuron `channels * height * width` in this order. */
typedef struct {
    int32_t kind;
    int32_t channels, height, width;
    int32_t held;            /* sends the same message at every step: computed once a window */
    int32_t wide;            /* its sums are not proven to fit 31 bits: everything in 64 */
    int32_t saturates;       /* its potential is not proven to stay inside the limit */
    int32_t bias_per_neuron; /* otherwise per channel */
    int32_t initial_per_neuron;
    int32_t counting;        /* SNN_COUNT_...; spikes are counted whatever it is */
    int32_t numbers[4];      /* what else the neuron model is told, in its own order */
    int64_t low, high;       /* smallest and largest message */
    int64_t limit;           /* potentials are clipped to -limit..limit */
    const int64_t *bias;
    const int64_t *threshold;            /* of all that divide or fire; per channel */
    const int64_t *initial;              /* potential at the start of a window */
    const int64_t *multiplier, *shift;   /* of all that rescale; per channel */
    const int64_t *table;                /* lines: (channels, numbers[0], 4), see graded.hpp */
} snn_population;

/* A synapse group. With `indptr`, a compressed-row matrix over neurons in (C, H, W) order, otherwise
 * a convolution with `weight` (O, I / groups, kernel[0], kernel[1]). */
typedef struct {
    int32_t source, target;  /* indices of populations, source before target */
    int32_t exponent;        /* the sum is shifted left by it, or right (floor) if negative */
    int32_t kernel[2], stride[2], dilation[2], groups;
    int32_t top, left;       /* padding before the map; negative crops */
    const int8_t *weight;
    const int64_t *indptr, *indices;
} snn_synapses;

typedef struct snn_network snn_network;

/* Where the neurons of a network stand between two stimuli that follow each other. */
typedef struct snn_state snn_state;

/* A batch of stimuli, and where the results go. Pointers may be NULL where nothing is wanted. */
typedef struct {
    int64_t n_samples;
    int64_t input_steps;     /* 1 or n_steps */
    const void *messages;    /* (n_samples, input_steps, row): of each input, in order, its (C, H, W) */
    int32_t message_bytes;   /* width of each: 1 (int8) or 4 (int32) */
    int64_t **outputs;       /* per population: (n_samples, C, H, W); readouts only, added to nothing */
    int64_t **activity;      /* per population: (C, H, W); what `counting` says is added */
    void **traces;           /* per population: (n_samples, n_steps, C, H, W), int8 for spikes,
                                int32 for values, int64 for potentials */
    double dense_above;      /* density of spikes from which a layer is computed densely; negative:
                                what was measured to be best for this build */
    int32_t n_threads;       /* that may work on it, at least 1 */
    int32_t shared;          /* whether they compute each stimulus together; 0: if it is long, and
                                there are too few of them to give every thread its own */
    snn_state *state;        /* from which each stimulus goes on, one after the other; NULL: each
                                begins at rest. Potentials have to be described as ones that may
                                saturate, since nothing bounds the number of steps */
} snn_batch;

#ifdef __cplusplus
extern "C" {
#endif

/* The number above, as the library was compiled with it. */
SNN_ENGINE_API int snn_engine_abi(void);

/* How the compiler has laid the structs out: of each, in the order in which they stand above, its size
 * and then the offset and the size of every field. Returns how many numbers these are. */
SNN_ENGINE_API int32_t snn_engine_layout(const int32_t **numbers);

/* The build's name: "baseline", "avx2", "avx512". */
SNN_ENGINE_API const char *snn_engine_build(void);

/* 1 if this CPU and its operating system can run the build of this name, 0 if not or if there is no
 * such build. Only the baseline library has this function: it is the one that always may be asked. */
SNN_ENGINE_API int snn_engine_cpu_supports(const char *build);

/* Prepares a network; everything is copied. NULL if memory ran out or it is malformed: `message`
 * (of `length` bytes) then says which. */
SNN_ENGINE_API snn_network *snn_engine_network_new(const snn_population *populations,
                                                   int32_t n_populations,
                                                   const snn_synapses *synapses,
                                                   int32_t n_synapses, int32_t n_steps,
                                                   char *message, int32_t length);
SNN_ENGINE_API void snn_engine_network_free(snn_network *network);

/* The state of a network at rest; NULL if memory ran out. It belongs to this network, and is freed
 * before it. */
SNN_ENGINE_API snn_state *snn_engine_state_new(const snn_network *network);
SNN_ENGINE_API void snn_engine_state_free(snn_state *state);

/* Simulates a batch; may be called from several threads at once, with
 * different states. 0; 1 if memory ran out; 2 if a
 * message is not between `low` and `high` of its input. */
SNN_ENGINE_API int snn_engine_run(snn_network *network, const snn_batch *batch);

#ifdef __cplusplus
}
#endif

#endif
