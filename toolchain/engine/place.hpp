// Where the parameters of 16 neurons stand, and what all neuron models clip with.
#pragma once

#include "network.hpp"

namespace snn {

// What the 16 lanes at hand need to find their parameters: lane of the pixel, and of the map.
struct Place {
    const Population &population;
    size_t lane;
    size_t neuron;  // lane of the whole map; where per-neuron state lies

    template <class T>
    const Parameters<T> &parameters() const {
        if constexpr (sizeof(T) == 4)
            return population.narrow;
        else
            return population.wide;
    }
    template <class T>
    Lanes<T> bias() const {
        return Lanes<T>::at(parameters<T>().bias.data() +
                            (population.given.bias_per_neuron ? neuron : lane));
    }
    template <class T>
    Lanes<T> initial() const {
        return Lanes<T>::at(parameters<T>().initial.data() +
                            (population.given.initial_per_neuron ? neuron : lane));
    }
};

template <class T>
SNN_INLINE Lanes<T> clip(const Lanes<T> &v, T limit) {
    return max(min(v, Lanes<T>::all(limit)), Lanes<T>::all(-limit));
}

}  // namespace snn
