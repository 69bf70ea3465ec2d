/* layers_test.h: what the tests of single layers share: a device under the validation layers, buffers on which a stray
 * write shows, and weights in panels. A failure of this frame itself ends the program. */
#ifndef RETNET_TESTS_LAYERS_TEST_H
#define RETNET_TESTS_LAYERS_TEST_H

#include "context.h"
#include "layers/linear.h"
#include "test.h"

typedef struct layers_test {
    retnet_context *context;
    rn_device *device; /* its caps may be lowered, to see what small limits do without filling large ones */
    rn_recorder recorder;
} layers_test;

/* Honours RETNET_TEST_PRETEND (pretend.h); where there is no device the program ends as skipped. Every
 * error in the library's log is a failure, and so is every message of the validation layers. */
layers_test layers_test_create(void);
/* Frees everything; this program's exit code. test_failures of the test's own file is passed in. */
int layers_test_finish(layers_test *test, int failures);

/* Until it is false again, errors of the library are expected in the log; validation messages never are. */
void layers_test_expect_errors(bool expected);

/* Record between the two, with the recorder that begin gives. */
rn_recorder *layers_test_begin(layers_test *test);
void layers_test_run(layers_test *test);

void *layers_test_alloc(size_t count, size_t size);         /* zeroed */
float layers_test_random(void);                             /* in [-1, 1) */
void layers_test_fill(float *values, size_t count);         /* with these */
double layers_test_activate(uint32_t activation, double x); /* 0 none, else 1 + rn_activation */

/* ---- Buffers ----------------------------------------------------------------------------------------------------- */

/* NaN as fp32, and as f16 and bf16 in either half. */
#define LAYERS_POISON 0x7FC17FC1u

/* Words that are seen by host and device, poisoned at first, between guards of poison. */
typedef struct layers_buffer {
    rn_buffer buffer;
    size_t count; /* words, without guards */
    uint32_t *words;
    float *floats;    /* the same */
    uint16_t *halves; /* the same */
} layers_buffer;

layers_buffer layers_test_buffer(layers_test *test, size_t count);
/* The words and the guard behind them, since drivers may drop writes beyond a binding. */
rn_binding layers_test_binding(const layers_buffer *buffer);
void layers_test_free(layers_test *test, layers_buffer *buffer);

/* Where half i of a token's f16 activations is (shaders/halves.glsl), in a buffer with room for so many tokens. */
size_t layers_test_half_at(size_t room, size_t token, size_t i);

/* What is expected of a buffer: NaN, that is to be left alone, for every word, or for every half of one. */
double *layers_test_expectation(const layers_buffer *buffer, bool halves);
/* Whether the buffer holds the expectation, to `limit` relative RMS, and nothing else: untouched words and guards are
 * compared bit for bit. Then frees the expectation. */
void layers_test_check(const char *what, const layers_buffer *buffer, bool halves, double *expected, double limit);
/* Only the guards. */
void layers_test_check_guards(const char *what, const layers_buffer *buffer);

/* Runs what `record` records: on software drivers once for each way in which they may read memory (layers/loads.h), as
 * that must not change a bit of the outputs. */
typedef void layers_test_record_fn(rn_recorder *recorder, const void *work);
void layers_test_run_each_way(layers_test *test, const char *what, layers_test_record_fn *record, const void *work,
                              layers_buffer *const *outputs, size_t output_count);

/* ---- Weights in panels, as shaders/weights.glsl describes them --------------------------------------------------- */

/* The 16 bytes that are unit `unit` of a row in a block of 32 inputs; `second` is of the second of two alternating
 * matrices. */
uint8_t *layers_test_unit(void *panels, const rn_matrix *matrix, bool second, uint32_t row, uint32_t block,
                          uint32_t unit);
/* The f16 scale of a row in a block: Q8 and Q4. */
uint8_t *layers_test_scale(void *panels, const rn_matrix *matrix, bool second, uint32_t row, uint32_t block);

typedef struct layers_matrix {
    rn_matrix matrix;
    layers_buffer panels;
    double *w; /* [rows, inputs]; of alternating matrices first the activated one, then the linear one */
} layers_matrix;

/* Random weights. `out` stays where it is: the matrix points into it. */
void layers_test_matrix(layers_test *test, retnet_weight_format format, uint32_t rows, uint32_t inputs,
                        bool alternating, layers_matrix *out);
/* An f16 matrix whose row r hands on input r * inputs / rows, whatever order a kernel adds in. */
void layers_test_selection(layers_test *test, uint32_t rows, uint32_t inputs, layers_matrix *out);
void layers_test_free_matrix(layers_test *test, layers_matrix *matrix);

#endif
