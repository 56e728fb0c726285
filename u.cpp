#include "/work/t19_suite/toolchain/engine/version.cpp"
#include "/work/t19_suite/toolchain/engine/prepare.cpp"
#include "/work/t19_suite/toolchain/engine/population.cpp"
#include "/work/t19_suite/toolchain/engine/run.cpp"
