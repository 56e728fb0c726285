/* Runs a network on stimuli from a file, and writes what every layer sends: only for verification.
 *
 *     trace STIMULI N
 *
 * The file has, in integers of 4 bytes, the lowest first, N stimuli for the first ROWS_GIVEN calls of
 * snn_step each, then N for snn_run.
 * Written to standard output, in integers of 8 bytes, the lowest first: what each layer sends at each
 * step, then the outputs of snn_run. */
#include <stdio.h>
#include <stdlib.h>

#include "network.h"

void SNN_TRACE(int32_t layer, const void *values, int32_t size, int32_t bytes, int32_t is_signed);

static int recording = 1;

static void put(int64_t value)
{
    unsigned char bytes[8];
    for (int k = 0; k < 8; k++)
        bytes[k] = (unsigned char)((uint64_t)value >> (8 * k) & 255);
    if (fwrite(bytes, 1, 8, stdout) != 8)
        exit(3);
}

void SNN_TRACE(int32_t layer, const void *values, int32_t size, int32_t bytes, int32_t is_signed)
{
    (void)layer;
    for (int32_t i = 0; recording && i < size; i++) {
        if (bytes == 1)
            put(is_signed ? ((const int8_t *)values)[i] : ((const uint8_t *)values)[i]);
        else if (bytes == 2)
            put(is_signed ? ((const int16_t *)values)[i] : ((const uint16_t *)values)[i]);
        else if (bytes == 4)
            put(((const int32_t *)values)[i]);
        else
            put(((const int64_t *)values)[i]);
    }
}

static int32_t get(FILE *file)
{
    unsigned char bytes[4];
    if (fread(bytes, 1, 4, file) != 4)
        exit(2);
    const uint32_t value = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
                           (uint32_t)bytes[3] << 24;
    return value > INT32_MAX ? (int32_t)-(int64_t)(UINT32_MAX - value) - 1 : (int32_t)value;
}

int main(int argc, char **argv)
{
    static snn_message messages[SNN_INPUTS];
#if SNN_FRAME == SNN_INPUTS
    static snn_input frame[SNN_FRAME];
#else
    static snn_message frame[SNN_FRAME];
#endif
    static snn_output output[SNN_OUTPUTS];
    FILE *const file = argc == 3 ? fopen(argv[1], "rb") : 0;
    if (file == 0)
        return 2;
    const long n = atol(argv[2]);
    snn_init();
    for (long k = 0; k < n; k++) {
        int32_t complete = 0;
        for (int32_t row = 0; row < SNN_ROWS; row++) {
            if (complete)
                return 4;
            for (int32_t i = 0; i < SNN_INPUTS && row < ROWS_GIVEN; i++)
                messages[i] = (snn_message)get(file);
            complete = snn_step(messages, output);
        }
        if (!complete)
            return 5;
    }
    recording = 0;
    snn_init();
    for (long k = 0; k < n; k++) {
        for (int32_t i = 0; i < SNN_FRAME; i++)
            frame[i] = get(file);
        snn_run(frame, output);
        for (int32_t i = 0; i < SNN_OUTPUTS; i++)
            put(output[i]);
    }
    return 0;
}
