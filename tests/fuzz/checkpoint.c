/* checkpoint.c: a whole checkpoint of any dialect, quantised too: config, header of the weights, weights. */
#include "fuzz/tensors.h"

#include "model/checkpoint.h"

/* The rows that a matrix stands for, read as the upload reads them. */
static void read_matrix(const rn_matrix_source *source)
{
    if (!source->tensor) return;
    const rn_tensor *tensor = source->tensor;
    uint64_t row_bytes = rn_matrix_row_bytes(source);
    FUZZ_REQUIRE(tensor->rank == 2 && row_bytes > 0 && tensor->bytes == tensor->shape[0] * row_bytes);
    FUZZ_REQUIRE(row_bytes * 2 >= source->columns);
    rn_hash(0, tensor->data + source->first_row * row_bytes, source->rows * row_bytes);
    bool quantised = tensor->dtype == RN_DTYPE_I8 || tensor->dtype == RN_DTYPE_U8;
    FUZZ_REQUIRE(quantised == (source->scales != NULL));
    if (!source->scales) return;
    uint64_t scale_bytes = 2 * (((uint64_t)source->columns + 31) / 32);
    FUZZ_REQUIRE(source->scales->dtype == RN_DTYPE_F16);
    rn_hash(0, source->scales->data + source->first_row * scale_bytes, source->rows * scale_bytes);
    FUZZ_REQUIRE(source->rotation_head == 0 || source->rows % source->rotation_head == 0);
}

static void read_vector(const rn_vector_source *source)
{
    if (!source->tensor) return;
    FUZZ_REQUIRE(source->tensor->elements == source->size && rn_dtype_size(source->tensor->dtype) >= 2);
}

static void read_linear(const rn_linear_source *linear)
{
    read_matrix(&linear->weight);
    read_vector(&linear->bias);
}

static void read_checkpoint(const rn_checkpoint *checkpoint)
{
    fuzz_walk_tensors(checkpoint->tensors);
    read_matrix(&checkpoint->embedding);
    read_matrix(&checkpoint->head);
    for (uint32_t i = 0; i < checkpoint->config.layers; i++) {
        const rn_layer_source *layer = &checkpoint->layers[i];
        const rn_linear_source *linears[] = {&layer->q, &layer->k,    &layer->v,  &layer->g,
                                             &layer->o, &layer->gate, &layer->up, &layer->down};
        for (size_t l = 0; l < RN_COUNT(linears); l++) read_linear(linears[l]);
        read_vector(&layer->group_norm);
        read_vector(&layer->retention_norm.weight);
        read_vector(&layer->ffn_norm.weight);
        read_vector(&layer->ffn_inner_norm.weight);
    }
    read_vector(&checkpoint->output_norm.weight);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rn_host host;
    rn_checkpoint checkpoint;
    fuzz_host_begin(&host);
    fuzz_file("config.json", fuzz_take(&data, &size));
    fuzz_piece header = fuzz_take(&data, &size), content = fuzz_rest(&data, &size);
    fuzz_file("model.safetensors", fuzz_safetensors(header, content));
    retnet_result headers = rn_checkpoint_open_headers(&host, "folder", &checkpoint);
    rn_checkpoint_close(&host, &checkpoint);
    retnet_result whole = rn_checkpoint_open(&host, "folder", &checkpoint);
    FUZZ_REQUIRE(headers == RETNET_OK || whole != RETNET_OK);
    if (whole == RETNET_OK) read_checkpoint(&checkpoint);
    rn_checkpoint_close(&host, &checkpoint);
    free(header.data);
    free(content.data);
    fuzz_files_clear();
    fuzz_host_end(&host);
    return 0;
}
