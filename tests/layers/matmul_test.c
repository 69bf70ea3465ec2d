/* matmul_test.c: projections on matrix units (matmul.comp) against plain sums in double precision over the same
 * weights, for every format and epilogue and for odd shapes. Skipped where the device has no matrix units or the build
 * no kernel for them.
 *
 *     test_layers_matmul [full|narrow]      `full`: every kind of kernel, on slow compilers too; `narrow`: only those
 * for few columns */
#include "layers/lanes.h"
#include "layers/matmul.h"
#include "layers/layers_test.h"
#include "shaders.h"

typedef struct shape {
    uint32_t columns, rows, inputs;
} shape;

typedef struct problem {
    shape shape;
    retnet_weight_format format;
    rn_linear_epilogue epilogue;
    uint32_t activation;
    bool halves;
    rn_matmul_way way;
    rn_matmul_tile tile; /* or chosen */
    rn_narrow_shape shape_of_narrow;
} problem;

typedef struct buffers {
    layers_matrix matrix;
    layers_buffer x, y, partials, unpacked;
} buffers;

/* ---- Expectation ------------------------------------------------------------------------------------------------- */

static double product(const double *w, const uint16_t *x, uint32_t inputs)
{
    double sum = 0;
    for (uint32_t i = 0; i < inputs; i++) sum += w[i] * rn_f16_to_f32(x[i]);
    return sum;
}

static double expected_value(const problem *p, const double *w, const uint16_t *x, uint32_t row)
{
    uint32_t inputs = p->shape.inputs;
    double value = layers_test_activate(p->activation, product(w + (size_t)row * inputs, x, inputs));
    if (p->epilogue == RN_EPILOGUE_GLU) value *= product(w + (size_t)(p->shape.rows + row) * inputs, x, inputs);
    return value;
}

/* Also fills what an epilogue adds to. f16 outputs are zero from the rows up to a multiple of 32. */
static double *expect(const problem *p, const rn_matmul *m, buffers *b)
{
    uint32_t rows = p->shape.rows, written = p->halves ? rn_divide_up(rows, 32) * 32 : rows;
    double *expected = layers_test_expectation(&b->y, p->halves);
    for (uint32_t t = 0; t < p->shape.columns; t++) {
        uint16_t x[1024];
        for (uint32_t i = 0; i < p->shape.inputs; i++) x[i] = b->x.halves[layers_test_half_at(m->x_room, t, i)];
        for (uint32_t r = 0; r < written; r++) {
            size_t at = p->halves ? layers_test_half_at(m->y_stride, t, r) : (size_t)t * m->y_stride + r;
            expected[at] = r < rows ? expected_value(p, b->matrix.w, x, r) : 0;
            if (p->epilogue != RN_EPILOGUE_ADD) continue;
            b->y.floats[at] = layers_test_random();
            expected[at] += b->y.floats[at];
        }
    }
    return expected;
}

/* ---- Cases ------------------------------------------------------------------------------------------------------- */

static void check_kernel(layers_test *test, const problem *p, bool narrow)
{
    bool glu = p->epilogue == RN_EPILOGUE_GLU;
    rn_matmul m = {
        .columns = p->shape.columns,
        .x_room = rn_divide_up(p->shape.columns, 64) * 64,
        .y_stride = p->halves ? p->shape.columns + 3 : rn_divide_up(p->shape.rows, 32) * 32 + 32 - p->shape.rows % 2,
        .epilogue = p->epilogue,
        .activation = p->activation,
        .halves = p->halves,
        .way = p->way,
        .tile = p->tile,
        .shape = p->shape_of_narrow,
    };
    buffers b = {
        .x = layers_test_buffer(test, (size_t)m.x_room * (rn_divide_up(p->shape.inputs, 32) * 32) / 2),
        .y = layers_test_buffer(test, p->halves ? (size_t)m.y_stride * (rn_divide_up(p->shape.rows, 32) * 16 + 16)
                                                : (size_t)m.columns * m.y_stride),
    };
    layers_test_matrix(test, p->format, p->shape.rows, p->shape.inputs, glu, &b.matrix);
    /* With its padding, which need not be zero. */
    for (size_t i = 0; i < 2 * b.x.count; i++) b.x.halves[i] = rn_f32_to_f16(layers_test_random());
    double *expected = expect(p, &m, &b);
    m.matrix = &b.matrix.matrix;
    m.input = layers_test_binding(&b.x);
    m.output = layers_test_binding(&b.y);
    if (narrow) {
        b.partials = layers_test_buffer(test, rn_matmul_narrow_bytes(test->device) / 4);
        m.partials = layers_test_binding(&b.partials);
        memset(b.partials.words, 0, 4 * RN_NARROW_COUNTERS);
    }
    uint64_t halves = (uint64_t)rn_matrix_panels(m.matrix) * rn_matrix_blocks(m.matrix) * 4096;
    b.unpacked = layers_test_buffer(test, halves / 4);
    m.unpacked = (rn_binding){&b.unpacked.buffer, layers_test_binding(&b.unpacked).offset, halves};
    (narrow ? rn_matmul_narrow_record : rn_matmul_record)(layers_test_begin(test), &m);
    layers_test_run(test);

    char what[160];
    snprintf(what, sizeof what, "%s%u x %u x %u, format %d, epilogue %d, activation %u, %s", narrow ? "narrow, " : "",
             m.columns, p->shape.rows, p->shape.inputs, p->format, p->epilogue, p->activation,
             p->halves ? "f16" : "fp32");
    layers_test_check(what, &b.y, p->halves, expected, 2e-3);
    layers_test_check_guards(what, &b.unpacked);
    layers_test_free(test, &b.unpacked);
    if (narrow) {
        layers_test_check_guards(what, &b.partials);
        for (size_t i = 0; i < RN_NARROW_COUNTERS; i++) CHECK(b.partials.words[i] == 0);
        layers_test_free(test, &b.partials);
    }
    layers_test_free(test, &b.x);
    layers_test_free(test, &b.y);
    layers_test_free_matrix(test, &b.matrix);
}

static bool only_narrow;

/* With each kernel that takes so many columns. */
static void check(layers_test *test, const problem *p)
{
    if (!only_narrow) check_kernel(test, p, false);
    if (rn_matmul_narrow_suits(test->device, p->shape.columns)) check_kernel(test, p, true);
}

static const retnet_weight_format formats[] = {RETNET_WEIGHTS_F32, RETNET_WEIGHTS_F16, RETNET_WEIGHTS_BF16,
                                               RETNET_WEIGHTS_Q8, RETNET_WEIGHTS_Q4};

static void check_all_kinds(layers_test *test, shape s, rn_matmul_way way)
{
    for (size_t f = 0; f < RN_COUNT(formats); f++) {
        check(test, &(problem){s, formats[f], RN_EPILOGUE_STORE, 0, false, way, {0}, {0}});
        check(test, &(problem){s, formats[f], RN_EPILOGUE_ADD, 0, false, way, {0}, {0}});
        check(test, &(problem){s, formats[f], RN_EPILOGUE_GLU, 1, true, way, {0}, {0}});
    }
    check(test, &(problem){s, RETNET_WEIGHTS_F16, RN_EPILOGUE_STORE, 2, true, way, {0}, {0}});
    check(test, &(problem){s, RETNET_WEIGHTS_F16, RN_EPILOGUE_STORE, 3, false, way, {0}, {0}});
    check(test, &(problem){s, RETNET_WEIGHTS_F16, RN_EPILOGUE_GLU, 2, false, way, {0}, {0}});
}

/* Each format, epilogue, activation and kind of output once. */
static void check_some_kinds(layers_test *test, shape s, rn_matmul_way way)
{
    check(test, &(problem){s, RETNET_WEIGHTS_F32, RN_EPILOGUE_STORE, 0, false, way, {0}, {0}});
    check(test, &(problem){s, RETNET_WEIGHTS_F16, RN_EPILOGUE_GLU, 1, true, way, {0}, {0}});
    check(test, &(problem){s, RETNET_WEIGHTS_BF16, RN_EPILOGUE_ADD, 0, false, way, {0}, {0}});
    check(test, &(problem){s, RETNET_WEIGHTS_Q8, RN_EPILOGUE_STORE, 2, true, way, {0}, {0}});
    check(test, &(problem){s, RETNET_WEIGHTS_Q4, RN_EPILOGUE_GLU, 3, false, way, {0}, {0}});
}

/* So many tokens that 8- and 4-bit weights are unpacked beforehand. */
static void check_unpacked(layers_test *test)
{
    check(test, &(problem){{1030, 77, 40}, RETNET_WEIGHTS_Q8, RN_EPILOGUE_ADD, 0, false, RN_MATMUL_FASTEST, {0}, {0}});
    check(test, &(problem){{1024, 70, 107}, RETNET_WEIGHTS_Q4, RN_EPILOGUE_GLU, 1, true, RN_MATMUL_FASTEST, {0}, {0}});
}

/* So few panels in a binding that only pairs of them are left. */
static void check_pairs(layers_test *test)
{
    uint64_t *most = &test->device->caps.max_storage_range, before = *most;
    *most = 5 * 7 * 8192;
    check_kernel(test,
                 &(problem){{40, 226, 196}, RETNET_WEIGHTS_F32, RN_EPILOGUE_GLU, 1, true, RN_MATMUL_FASTEST, {0}, {0}},
                 false);
    *most = before;
}

/* Inputs split among subgroups, with more and with fewer blocks than splits, and columns and rows that fill no tile. */
static void check_splits(layers_test *test, rn_matmul_tile tile)
{
    check(test,
          &(problem){{40, 200, 300}, RETNET_WEIGHTS_F16, RN_EPILOGUE_ADD, 0, false, RN_MATMUL_FASTEST, tile, {0}});
    check(test, &(problem){{33, 64, 20}, RETNET_WEIGHTS_Q4, RN_EPILOGUE_STORE, 1, true, RN_MATMUL_FASTEST, tile, {0}});
    check(test, &(problem){{33, 70, 300}, RETNET_WEIGHTS_Q8, RN_EPILOGUE_STORE, 1, true, RN_MATMUL_FASTEST, tile, {0}});
    if (tile.rows < 128) return; /* not of pairs of panels */
    check(test, &(problem){{33, 70, 300}, RETNET_WEIGHTS_Q4, RN_EPILOGUE_GLU, 1, true, RN_MATMUL_FASTEST, tile, {0}});
    check(test, &(problem){{33, 70, 300}, RETNET_WEIGHTS_Q4, RN_EPILOGUE_GLU, 2, false, RN_MATMUL_FASTEST, tile, {0}});
}

/* A product whose last tiles get a dispatch of their own. */
static void check_two(layers_test *test, const problem *p)
{
    check_kernel(test, p, false);
    CHECK_INT(test->recorder.sets, 2);
}

/* A GPU and a product, and the tile that is chosen. */
typedef struct choice {
    shape s;
    rn_linear_epilogue epilogue;
    bool large;
    uint32_t processors, invocations;
    rn_matmul_tile tile;
} choice;

/* What is chosen for a large GPU, for a small one and for one that does not tell, of tokens x rows x inputs. */
static void check_choice(layers_test *test)
{
    static const choice choices[] = {
        {{128, 2048, 4096}, RN_EPILOGUE_STORE, false, 132, 1024, {32, 64, 32, 64, 8}},
        {{128, 2048, 4096}, RN_EPILOGUE_STORE, true, 132, 1024, {64, 128, 64, 64, 2}},
        {{512, 2048, 4096}, RN_EPILOGUE_STORE, false, 132, 1024, {64, 128, 64, 64, 4}},
        {{1024, 2048, 4096}, RN_EPILOGUE_STORE, false, 132, 1024, {64, 128, 64, 64, 2}},
        {{2048, 2048, 4096}, RN_EPILOGUE_STORE, false, 132, 1024, {128, 128, 64, 64, 1}},
        {{128, 12288, 2048}, RN_EPILOGUE_STORE, false, 132, 1024, {64, 128, 64, 64, 2}},
        {{128, 3072, 512}, RN_EPILOGUE_STORE, true, 132, 1024, {64, 128, 64, 64, 2}},
        /* Of too few blocks for two parts, for four and for eight. */
        {{128, 3072, 480}, RN_EPILOGUE_STORE, true, 132, 1024, {128, 128, 64, 64, 1}},
        {{192, 3072, 512}, RN_EPILOGUE_STORE, false, 132, 1024, {64, 128, 64, 64, 2}},
        {{128, 512, 736}, RN_EPILOGUE_STORE, false, 132, 1024, {32, 128, 32, 64, 4}},
        {{128, 512, 768}, RN_EPILOGUE_STORE, false, 132, 1024, {32, 64, 32, 64, 8}},
        /* Half of a larger tile would be for nothing. */
        {{192, 24576, 4096}, RN_EPILOGUE_STORE, true, 132, 1024, {64, 128, 64, 64, 1}},
        {{512, 2048, 4096}, RN_EPILOGUE_STORE, false, 24, 1024, {128, 128, 64, 64, 1}},
        {{512, 5632, 2048}, RN_EPILOGUE_STORE, false, 132, 1024, {64, 128, 64, 64, 4}},
        {{128, 1024, 2048}, RN_EPILOGUE_STORE, false, 24, 1024, {64, 128, 64, 64, 4}},
        {{128, 2048, 4096}, RN_EPILOGUE_STORE, false, 0, 1024, {32, 64, 32, 64, 8}},
        {{64, 2816, 2048}, RN_EPILOGUE_GLU, false, 132, 1024, {32, 128, 32, 64, 4}},
        {{128, 2816, 2048}, RN_EPILOGUE_GLU, false, 132, 1024, {64, 128, 64, 64, 4}},
        /* Workgroups have no room for splits. */
        {{128, 2048, 4096}, RN_EPILOGUE_STORE, false, 132, 255, {128, 128, 64, 64, 1}},
        {{64, 2048, 4096}, RN_EPILOGUE_STORE, false, 132, 255, {64, 128, 64, 64, 1}},
    };
    rn_capabilities *caps = &test->device->caps, before = *caps;
    caps->is_cpu = false;
    caps->matrix.subgroup = 32;
    for (size_t i = 0; i < RN_COUNT(choices); i++) {
        const choice *c = &choices[i];
        rn_matrix matrix = {.format = RETNET_WEIGHTS_F16,
                            .rows = c->s.rows,
                            .inputs = c->s.inputs,
                            .alternating = c->epilogue == RN_EPILOGUE_GLU};
        rn_matmul matmul = {.matrix = &matrix, .columns = c->s.columns, .epilogue = c->epilogue};
        uint32_t constants[RN_MATMUL_TILE_CONSTANTS];
        caps->processors = c->processors;
        caps->max_invocations = c->invocations;
        rn_matmul_tile tile = rn_matmul_direct_tile(test->device, &matmul, c->large, constants);
        CHECK(memcmp(&tile, &c->tile, sizeof tile) == 0);
        CHECK(constants[0] <= c->invocations);
    }
    *caps = before;
}

/* The kernel for few columns that a GPU with so much would take, whose matrices lie as an NVIDIA GPU's do. */
static const rn_shader *narrow_choice(layers_test *test, uint32_t columns, uint32_t invocations, uint32_t shared_memory)
{
    rn_device *device = layers_test_alloc(1, sizeof *device);
    rn_kernel_plan plan = {0};
    memcpy(device, test->device, sizeof *device);
    device->plan = &plan;
    rn_capabilities *caps = &device->caps;
    caps->is_cpu = false;
    caps->matrix = (rn_matrix_unit){.m = 16, .n = 16, .k = 16, .subgroup = 32, .lanes = RN_LANES_QUADS};
    caps->max_invocations = invocations;
    caps->shared_memory = shared_memory;
    rn_recorder recorder = {.device = device};
    rn_buffer none = {0};
    rn_matrix matrix = {.buffer = &none, .format = RETNET_WEIGHTS_F16, .rows = 64, .inputs = 64};
    rn_matmul matmul = {.matrix = &matrix, .input.buffer = &none, .columns = columns};
    if (rn_matmul_narrow_suits(device, columns)) rn_matmul_narrow_record(&recorder, &matmul);
    CHECK_INT(recorder.result, RETNET_OK);
    const rn_kernel *kernel = (const rn_kernel *)(void *)plan.wishes; /* which a wish begins with */
    const rn_shader *shader = kernel ? kernel->shader : NULL;
    rn_kernel_plan_free(device->host, &plan);
    free(device);
    return shader;
}

/* Straight from memory up to 32 columns, where the device has what that takes. */
static void check_narrow_choice(layers_test *test)
{
    const rn_shader *staged = &rn_shaders[RN_SHADER_MATMUL_NARROW],
                    *direct = &rn_shaders[RN_SHADER_MATMUL_NARROW_DIRECT];
    CHECK(narrow_choice(test, 32, 1024, 49152) == direct);
    CHECK(!narrow_choice(test, 33, 1024, 49152));
    CHECK(narrow_choice(test, 32, 1024, 32768) == staged); /* its sums take 32 KiB and a word */
    CHECK(narrow_choice(test, 32, 255, 49152) == staged);
    CHECK(!narrow_choice(test, 32, 1024, 16384));
}

/* Tiles that do not fill the device's processors at last, and are split. Of outputs that may be bound from there, or
 * not: rows 192 and on of an odd room. */
static void check_last(layers_test *test, rn_matmul_tile tile)
{
    rn_capabilities *caps = &test->device->caps, before = *caps;
    shape s = {tile.tokens, 5 * 128, 70}, ragged = {tile.tokens - 1, 5 * 128 - 30, 70},
          unaligned = {2 * tile.tokens - 2, 4 * 64 - 30, 70};
    caps->processors = 2;
    check_two(test, &(problem){s, RETNET_WEIGHTS_F16, RN_EPILOGUE_STORE, 0, true, RN_MATMUL_FASTEST, tile, {0}});
    check_two(test, &(problem){ragged, RETNET_WEIGHTS_F16, RN_EPILOGUE_STORE, 0, true, RN_MATMUL_FASTEST, tile, {0}});
    s.rows = 5 * 64;
    check_two(test, &(problem){s, RETNET_WEIGHTS_F16, RN_EPILOGUE_GLU, 1, true, RN_MATMUL_FASTEST, tile, {0}});
    caps->processors = 3;
    caps->storage_alignment = 256; /* the most that Vulkan lets a device ask for */
    check_two(test, &(problem){unaligned, RETNET_WEIGHTS_Q8, RN_EPILOGUE_GLU, 0, true, RN_MATMUL_BOUND, tile, {0}});
    *caps = before;
}

/* Subgroups with rows, with inputs and with both in common; inputs split among workgroups too, sometimes into more
 * parts than there are blocks; several blocks under way at once. */
static void check_narrow_shapes(layers_test *test)
{
    static const rn_narrow_shape shapes[] = {{1, 2, 1, 1}, {2, 1, 2, 2}, {2, 2, 3, 1}, {4, 2, 1, 2}, {1, 8, 5, 1}};
    bool slow = test->device->caps.is_cpu; /* larger workgroups and more columns take minutes to compile */
    for (size_t i = 0; i < (slow ? 3 : RN_COUNT(shapes)); i++) {
        problem p = {{9, 200, 300}, RETNET_WEIGHTS_F16, RN_EPILOGUE_ADD, 0, false, RN_MATMUL_FASTEST, {0}, shapes[i]};
        check_kernel(test, &p, true);
        p = (problem){{16, 72, 100}, RETNET_WEIGHTS_Q4, RN_EPILOGUE_GLU, 1, true, RN_MATMUL_FASTEST, {0}, shapes[i]};
        check_kernel(test, &p, true);
    }
    if (slow) return;
    check_kernel(
        test,
        &(problem){{30, 90, 70}, RETNET_WEIGHTS_Q8, RN_EPILOGUE_STORE, 0, false, RN_MATMUL_FASTEST, {0}, shapes[2]},
        true);
}

int main(int argc, char **argv)
{
    static const shape shapes[] = {{16, 64, 32},   {17, 40, 70}, {64, 128, 64},   {100, 200, 96}, {128, 77, 107},
                                   {200, 256, 65}, {33, 1, 40},  {129, 320, 320}, {9, 72, 740},   {31, 130, 900}};
    layers_test test = layers_test_create();
    if (!rn_matmul_suits(test.device, 64)) return layers_test_finish(&test, test_failures) ? 1 : TEST_SKIPPED;
    only_narrow = argc > 1 && strcmp(argv[1], "narrow") == 0;
    bool full = !test.device->caps.is_cpu || (argc > 1 && strcmp(argv[1], "full") == 0);
    for (size_t s = 0; s < RN_COUNT(shapes); s++) {
        if (full)
            check_all_kinds(&test, shapes[s], RN_MATMUL_FASTEST);
        else
            check_some_kinds(&test, shapes[s], RN_MATMUL_FASTEST);
    }
    check_unpacked(&test);
    check_pairs(&test);
    if (test.device->caps.matrix.lanes != RN_LANES_UNKNOWN) {
        /* Else this is what was checked above. */
        static const rn_matmul_way others[] = {RN_MATMUL_BOUND, RN_MATMUL_STAGED};
        for (size_t w = test.device->addresses ? 0 : 1; w < RN_COUNT(others); w++) {
            for (size_t s = 4; s < (full ? RN_COUNT(shapes) : 5); s++) {
                if (full)
                    check_all_kinds(&test, shapes[s], others[w]);
                else
                    check_some_kinds(&test, shapes[s], others[w]);
            }
        }
        check_choice(&test);
        check_narrow_choice(&test);
        check_narrow_shapes(&test);
        check_splits(&test, (rn_matmul_tile){16, 128, 16, 32, 2});
        check_last(&test, (rn_matmul_tile){16, 128, 16, 32, 1});
        if (!test.device->caps.is_cpu) {
            check_splits(&test, (rn_matmul_tile){128, 128, 64, 64, 2});
            check_splits(&test, (rn_matmul_tile){32, 64, 32, 64, 8});
            check_splits(&test, (rn_matmul_tile){32, 128, 32, 64, 4});
            check_splits(&test, (rn_matmul_tile){64, 128, 64, 64, 4});
            check_last(&test, (rn_matmul_tile){128, 128, 64, 64, 1});
        }
    }
    return layers_test_finish(&test, test_failures);
}
