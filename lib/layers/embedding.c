#include "layers/embedding.h"

#include "shaders.h"

typedef struct embedding_push {
    uint32_t blocks, count, y_stride;
    float scale;
    uint32_t first_row, rows;
} embedding_push;

typedef struct score_push {
    uint32_t vocabulary, stride, first_target, first_output;
} score_push;

void rn_embedding_record(rn_recorder *recorder, const rn_matrix *matrix, rn_binding tokens, uint32_t count,
                         rn_binding output, uint32_t y_stride, float scale)
{
    uint32_t constants[] = {64, matrix->format};
    const rn_kernel *kernel =
        rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_EMBEDDING], constants, RN_COUNT(constants));
    if (!kernel) return;
    uint32_t panels = rn_matrix_panels(matrix), step = rn_matrix_panels_per_binding(recorder->device, matrix);
    uint32_t blocks = rn_matrix_blocks(matrix);
    for (uint32_t first = 0; first < panels; first += step) {
        uint32_t held = rn_min_u32(step, panels - first);
        rn_binding bindings[] = {
            {matrix->buffer, matrix->offset + first * rn_matrix_panel_bytes(matrix),
             held * rn_matrix_panel_bytes(matrix)},
            tokens,
            output,
        };
        embedding_push push = {blocks, count, y_stride, scale, first * RN_PANEL_ROWS, held * RN_PANEL_ROWS};
        rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push,
                             rn_divide_up(count * blocks, 64), 1, 1, 0);
    }
}

void rn_score_record(rn_recorder *recorder, rn_binding logits, uint32_t vocabulary, uint32_t stride, uint32_t rows,
                     rn_binding targets, uint32_t first_target, rn_binding log_probs, uint32_t first_output)
{
    uint32_t constants[] = {64};
    const rn_kernel *kernel =
        rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_SCORE], constants, RN_COUNT(constants));
    if (!kernel) return;
    score_push push = {vocabulary, stride, first_target, first_output};
    rn_binding bindings[] = {logits, targets, log_probs};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push, rows, 1, 1, 0);
}
