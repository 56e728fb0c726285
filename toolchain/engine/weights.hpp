// Synapse groups: from natural weights to the tables that the kernels read.
#pragma once

#include "network.hpp"

namespace snn {

// A group of synapses between populations that are prepared; everything is copied. Throws
// std::invalid_argument.
Group group(const snn_network &network, const snn_synapses &given);

}  // namespace snn
