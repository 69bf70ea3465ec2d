#include "layers/pack.h"

#include "shaders.h"

retnet_result rn_pack_record(rn_recorder *recorder, rn_pack_source kind, rn_binding source, const rn_matrix *matrix,
                             rn_pack pack)
{
    uint32_t constants[] = {64, kind, matrix->format};
    const rn_kernel *kernel;
    retnet_result result =
        rn_kernel_get(recorder->device, &rn_shaders[RN_SHADER_PACK], constants, RN_COUNT(constants), &kernel);
    if (result != RETNET_OK) return result;
    /* Rows move within their head of up to 512 rows, so a piece's panels reach that far beyond its rows. */
    const uint32_t reach = pack.rotation_head ? 512 : 0;
    uint32_t first_panel = (pack.to_row + pack.first > reach ? pack.to_row + pack.first - reach : 0) / RN_PANEL_ROWS *
                           pack.panel_step / 16 * 16;
    uint32_t last_panel =
        rn_min_u32(rn_divide_up(pack.to_row + pack.first + pack.rows + reach, RN_PANEL_ROWS) * pack.panel_step,
                   rn_matrix_panels(matrix));
    rn_binding bindings[] = {
        source,
        {matrix->buffer, matrix->offset + first_panel * rn_matrix_panel_bytes(matrix),
         (last_panel - first_panel) * rn_matrix_panel_bytes(matrix)},
    };
    pack.to_row -= first_panel / pack.panel_step * RN_PANEL_ROWS;
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &pack, sizeof pack,
                         rn_divide_up(pack.rows * pack.blocks, 64), 1, 1, 0);
    return recorder->result;
}

uint32_t rn_pack_rows(const rn_device *device, uint64_t bytes, uint64_t row_bytes, uint32_t blocks)
{
    uint64_t rows = bytes / row_bytes, dispatchable = (uint64_t)device->caps.max_groups[0] * 64 / blocks;
    if (rows > dispatchable) rows = dispatchable;
    return rows < 64 ? (uint32_t)(rows ? rows : 1) : (uint32_t)(rows / 64 * 64);
}
