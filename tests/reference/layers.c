/* layers.c: what stands around retention: rotation, norms, gates, linear maps. */
#include "reference/reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void *ref_alloc(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        fprintf(stderr, "reference: out of memory for %zu elements of %zu bytes\n", count, size);
        exit(1);
    }
    return memory;
}

double ref_dot(const double *a, const double *b, size_t size)
{
    /* Eight sums, because a compiler may not reorder one sum to use vectors. */
    double lanes[8] = {0}, sum = 0;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        for (size_t lane = 0; lane < 8; lane++) lanes[lane] += a[i + lane] * b[i + lane];
    }
    for (; i < size; i++) sum += a[i] * b[i];
    for (size_t lane = 0; lane < 8; lane++) sum += lanes[lane];
    return sum;
}

void ref_linear(const double *x, size_t rows, const float *w, size_t outputs, size_t inputs, const float *bias,
                double *y)
{
    enum { BLOCK = 32 }; /* rows whose inputs stay in cache while all weights pass by */
    double *w_row = ref_alloc(inputs, sizeof *w_row);
    for (size_t first = 0; first < rows; first += BLOCK) {
        size_t end = first + BLOCK < rows ? first + BLOCK : rows;
        for (size_t out = 0; out < outputs; out++) {
            for (size_t i = 0; i < inputs; i++) w_row[i] = w[out * inputs + i];
            for (size_t t = first; t < end; t++)
                y[t * outputs + out] = ref_dot(x + t * inputs, w_row, inputs) + (bias ? bias[out] : 0);
        }
    }
    free(w_row);
}

void ref_rotate(double *x, size_t rows, size_t heads, size_t key_size, const double *theta, uint64_t first)
{
    size_t half = key_size / 2;
    for (size_t t = 0; t < rows; t++) {
        for (size_t i = 0; i < half; i++) {
            double angle = (double)(first + t) * theta[i], c = cos(angle), s = sin(angle);
            for (size_t h = 0; h < heads; h++) {
                double *row = x + (t * heads + h) * key_size;
                double a = row[i], b = row[i + half];
                row[i] = a * c - b * s;
                row[i + half] = a * s + b * c;
            }
        }
    }
}

/* y = (x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias; RMS norm is the same with mean = 0. */
static void norm_row(const double *x, size_t size, bool centred, double eps, const float *weight, const float *bias,
                     double *y)
{
    double mean = 0;
    for (size_t i = 0; centred && i < size; i++) mean += x[i] / (double)size;
    for (size_t i = 0; i < size; i++) y[i] = x[i] - mean;
    double factor = 1 / sqrt(ref_dot(y, y, size) / (double)size + eps);
    for (size_t i = 0; i < size; i++) y[i] = y[i] * factor * (weight ? weight[i] : 1) + (bias ? bias[i] : 0);
}

void ref_rms_norm(const double *x, size_t rows, size_t size, double eps, const float *weight, double *y)
{
    for (size_t t = 0; t < rows; t++) norm_row(x + t * size, size, false, eps, weight, NULL, y + t * size);
}

void ref_layer_norm(const double *x, size_t rows, size_t size, double eps, const float *weight, const float *bias,
                    double *y)
{
    for (size_t t = 0; t < rows; t++) norm_row(x + t * size, size, true, eps, weight, bias, y + t * size);
}

void ref_group_norm(double *o, size_t rows, size_t heads, size_t value_size, double eps, const double *c2,
                    const float *weight, bool centred)
{
    for (size_t i = 0; i < rows * heads; i++) {
        double *o_i = o + i * value_size;
        norm_row(o_i, value_size, centred, eps * (c2 ? c2[i] : 1), weight, NULL, o_i);
    }
}

double ref_activate(rn_activation activation, double x)
{
    switch (activation) {
    case RN_ACTIVATION_SILU: return x / (1 + exp(-x));
    case RN_ACTIVATION_GELU: return 0.5 * x * (1 + erf(x * sqrt(0.5)));
    case RN_ACTIVATION_RELU: return x > 0 ? x : 0;
    }
    return NAN;
}

void ref_gate(rn_activation activation, const double *x, double *y, size_t count)
{
    for (size_t i = 0; i < count; i++) y[i] *= ref_activate(activation, x[i]);
}
