/* bandwidth.c: see bandwidth.h. Reaches inside the library for its recorder. */
#include "bandwidth.h"

#include "context.h"
#include "layers/copy.h"
#include "measure.h"

/* More than any cache holds, where there is a GPU. */
enum { GPU_BYTES = 1 << 30, CPU_BYTES = 1 << 27, PASSES = 8 };

typedef void record_fn(rn_recorder *recorder, const rn_buffer *memory);

static void record_read(rn_recorder *recorder, const rn_buffer *memory)
{
    rn_read_record(recorder, (rn_binding){memory, 0, memory->size});
}

static void record_copy(rn_recorder *recorder, const rn_buffer *memory)
{
    rn_copy_record(recorder, (rn_binding){memory, 0, memory->size}, 0, memory->size / 2, memory->size / 2);
}

/* The best of the submits of 0.15 s: an idle GPU takes tens of milliseconds to raise its clocks. */
static retnet_result time_passes(rn_recorder *recorder, const rn_buffer *memory, record_fn *record, double *rate)
{
    rn_recorder_begin(recorder);
    for (int i = 0; i < PASSES; i++) record(recorder, memory);
    retnet_result result = rn_recorder_end(recorder);
    *rate = 0;
    double end = bench_seconds() + 0.15;
    for (double begin = bench_seconds(); begin < end && result == RETNET_OK; begin = bench_seconds()) {
        result = rn_recorder_run(recorder);
        double reached = PASSES * (double)memory->size / (bench_seconds() - begin);
        if (reached > *rate) *rate = reached;
    }
    return result;
}

retnet_result bench_measure_bandwidth(retnet_context *context, bench_bandwidth *bandwidth)
{
    rn_device *device = &context->device;
    rn_buffer memory;
    rn_recorder recorder = {0};
    uint64_t bytes = device->caps.is_cpu ? CPU_BYTES : GPU_BYTES;
    if (bytes > device->caps.max_storage_range) bytes = device->caps.max_storage_range / RN_READ_BYTES * RN_READ_BYTES;
    *bandwidth = (bench_bandwidth){0, 0};
    retnet_result result = rn_buffer_create(device, bytes, RN_MEMORY_DEVICE, "bandwidth", &memory);
    if (result == RETNET_OK) result = rn_recorder_create(device, &recorder);
    if (result == RETNET_OK) {
        rn_recorder_begin(&recorder);
        rn_recorder_fill_zero(&recorder, &memory, 0, bytes);
        result = rn_recorder_end(&recorder);
    }
    if (result == RETNET_OK) result = rn_recorder_run(&recorder);
    if (result == RETNET_OK) result = time_passes(&recorder, &memory, record_read, &bandwidth->read);
    if (result == RETNET_OK) result = time_passes(&recorder, &memory, record_copy, &bandwidth->copy);
    rn_recorder_destroy(&recorder);
    rn_buffer_destroy(device, &memory);
    return result;
}
