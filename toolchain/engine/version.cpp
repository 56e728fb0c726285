// What a library says of itself, for the loader to check.
#include "engine.h"

#ifndef SNN_ENGINE_BUILD
#error "SNN_ENGINE_BUILD is the name of the build; CMakeLists.txt states it"
#endif

int snn_engine_abi(void) {
    return SNN_ENGINE_ABI;
}

const char *snn_engine_build(void) {
    return SNN_ENGINE_BUILD;
}
