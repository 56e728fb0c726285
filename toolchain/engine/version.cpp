// What a library says of itself, for the loader to check.
#include "engine.h"

#include <cstddef>
#include <iterator>

#ifndef SNN_ENGINE_BUILD
#error "SNN_ENGINE_BUILD is the name of the build; CMakeLists.txt states it"
#endif

int snn_engine_abi(void) {
    return SNN_ENGINE_ABI;
}

namespace {

#define FIELD(type, name) \
    static_cast<int32_t>(offsetof(type, name)), static_cast<int32_t>(sizeof(type::name))
#define POPULATION(name) FIELD(snn_population, name)
#define SYNAPSES(name) FIELD(snn_synapses, name)
#define BATCH(name) FIELD(snn_batch, name)

const int32_t kLayout[] = {
    static_cast<int32_t>(sizeof(snn_population)),
    POPULATION(kind), POPULATION(channels), POPULATION(height), POPULATION(width),
    POPULATION(held), POPULATION(wide), POPULATION(saturates), POPULATION(bias_per_neuron),
    POPULATION(initial_per_neuron), POPULATION(counting), POPULATION(numbers), POPULATION(low), POPULATION(high),
    POPULATION(limit), POPULATION(bias), POPULATION(threshold), POPULATION(initial),
    POPULATION(multiplier), POPULATION(shift), POPULATION(table),
    static_cast<int32_t>(sizeof(snn_synapses)),
    SYNAPSES(source), SYNAPSES(target), SYNAPSES(exponent), SYNAPSES(kernel), SYNAPSES(stride),
    SYNAPSES(dilation), SYNAPSES(groups), SYNAPSES(top), SYNAPSES(left), SYNAPSES(weight),
    SYNAPSES(indptr), SYNAPSES(indices),
    static_cast<int32_t>(sizeof(snn_batch)),
    BATCH(n_samples), BATCH(input_steps), BATCH(messages), BATCH(message_bytes), BATCH(outputs),
    BATCH(activity), BATCH(traces), BATCH(dense_above),
    BATCH(n_threads), BATCH(shared), BATCH(state),
};

}  // namespace

int32_t snn_engine_layout(const int32_t **numbers) {
    *numbers = kLayout;
    return static_cast<int32_t>(std::size(kLayout));
}

const char *snn_engine_build(void) {
    return SNN_ENGINE_BUILD;
}
