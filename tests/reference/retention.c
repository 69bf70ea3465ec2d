/* retention.c: the three forms of retention (section 2 of the paper, chunkwise as in its version 4), which are equal.
 */
#include "reference/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The head's row of token n in a matrix [T, heads, size]. */
static const double *row_of(const double *x, size_t n, size_t heads, size_t head, size_t size)
{
    return x + (n * heads + head) * size;
}

/* y += a x */
static void add_scaled(double *y, double a, const double *x, size_t size)
{
    for (size_t i = 0; i < size; i++) y[i] += a * x[i];
}

/* S = keep S + a k^T v */
static void update_state(double *state, double keep, double a, const double *k, const double *v, size_t key_size,
                         size_t value_size)
{
    for (size_t i = 0; i < key_size; i++) {
        double *row = state + i * value_size;
        double b = a * k[i];
        for (size_t j = 0; j < value_size; j++) row[j] = keep * row[j] + b * v[j];
    }
}

/* o += a q S */
static void read_state(double *o, double a, const double *q, const double *state, size_t key_size, size_t value_size)
{
    for (size_t i = 0; i < key_size; i++) add_scaled(o, a * q[i], state + i * value_size, value_size);
}

double ref_decay_sum(double decay, uint64_t n)
{
    /* expm1 keeps the digits that 1 - gamma^(n+1) would lose for gamma close to 1. */
    return decay < 1 ? expm1((double)(n + 1) * log(decay)) / (decay - 1) : (double)(n + 1);
}

/* O = (Q K^T . D) V with D_nm = gamma^(n-m), and what the initial state adds. */
void ref_retention_parallel(const ref_retention *r, const double *q, const double *k, const double *v, double *state,
                            double *o)
{
    size_t T = r->tokens, K = r->key_size, V = r->value_size, group = r->heads / r->kv_heads;
    memset(o, 0, T * r->heads * V * sizeof *o);
    for (size_t h = 0; h < r->heads; h++) {
        double gamma = r->decay[h], *S = state + h * K * V;
        for (size_t n = 0; n < T; n++) {
            const double *q_n = row_of(q, n, r->heads, h, K);
            double *o_n = o + (n * r->heads + h) * V;
            for (size_t m = 0; m <= n; m++) {
                double score = ref_dot(q_n, row_of(k, m, r->kv_heads, h / group, K), K);
                double D_nm = pow(gamma, (double)(n - m));
                add_scaled(o_n, r->scale * score * D_nm, row_of(v, m, r->kv_heads, h / group, V), V);
            }
            read_state(o_n, r->scale * pow(gamma, (double)(n + 1)), q_n, S, K, V);
        }
        for (size_t i = 0; i < K * V; i++) S[i] *= pow(gamma, (double)T);
        for (size_t m = 0; m < T; m++)
            update_state(S, 1, pow(gamma, (double)(T - 1 - m)), row_of(k, m, r->kv_heads, h / group, K),
                         row_of(v, m, r->kv_heads, h / group, V), K, V);
    }
}

/* S_n = gamma S_(n-1) + K_n^T V_n,  O_n = Q_n S_n */
void ref_retention_recurrent(const ref_retention *r, const double *q, const double *k, const double *v, double *state,
                             double *o)
{
    size_t K = r->key_size, V = r->value_size, group = r->heads / r->kv_heads;
    memset(o, 0, r->tokens * r->heads * V * sizeof *o);
    for (size_t h = 0; h < r->heads; h++) {
        double *S = state + h * K * V;
        for (size_t n = 0; n < r->tokens; n++) {
            update_state(S, r->decay[h], 1, row_of(k, n, r->kv_heads, h / group, K),
                         row_of(v, n, r->kv_heads, h / group, V), K, V);
            read_state(o + (n * r->heads + h) * V, r->scale, row_of(q, n, r->heads, h, K), S, K, V);
        }
    }
}

/* One chunk of C tokens from `first` on, for one head:
 * O_j = (Q K^T . D) V + xi_j Q_j R,  R = gamma^C R + K^T (V . zeta),  xi_j = gamma^(j+1),  zeta_j = gamma^(C-1-j). */
static void read_chunk(const ref_retention *r, size_t h, size_t first, size_t C, const double *q, const double *k,
                       const double *v, double *R, double *o)
{
    size_t K = r->key_size, V = r->value_size, kv_head = h / (r->heads / r->kv_heads);
    double gamma = r->decay[h];
    for (size_t j = 0; j < C; j++) {
        const double *q_j = row_of(q, first + j, r->heads, h, K);
        double *o_j = o + ((first + j) * r->heads + h) * V;
        read_state(o_j, r->scale * pow(gamma, (double)(j + 1)), q_j, R, K, V);
        for (size_t l = 0; l <= j; l++) {
            double P_jl = ref_dot(q_j, row_of(k, first + l, r->kv_heads, kv_head, K), K) * pow(gamma, (double)(j - l));
            add_scaled(o_j, r->scale * P_jl, row_of(v, first + l, r->kv_heads, kv_head, V), V);
        }
    }
    for (size_t j = 0; j < C; j++) {
        double keep = j == 0 ? pow(gamma, (double)C) : 1, zeta = pow(gamma, (double)(C - 1 - j));
        update_state(R, keep, zeta, row_of(k, first + j, r->kv_heads, kv_head, K),
                     row_of(v, first + j, r->kv_heads, kv_head, V), K, V);
    }
}

/* c of section 1.2 of retnet.md, parallel: sqrt(s_n) clamp(A_n / sqrt(s_n), 1, 5e4). */
void ref_score_norm_parallel(const ref_retention *r, const double *q, const double *k, double *c2)
{
    size_t K = r->key_size, group = r->heads / r->kv_heads;
    for (size_t i = 0; i < r->tokens * r->heads; i++) {
        size_t n = i / r->heads, h = i % r->heads;
        double A = 0, root = sqrt(ref_decay_sum(r->decay[h], n));
        for (size_t m = 0; m <= n; m++)
            A += fabs(r->scale * ref_dot(row_of(q, n, r->heads, h, K), row_of(k, m, r->kv_heads, h / group, K), K)) *
                 pow(r->decay[h], (double)(n - m));
        double c = root * fmin(fmax(A / root, 1), 5e4);
        c2[i] = c * c;
    }
}

/* The same of the chunkwise form: kv_scale is of the state before the chunk. */
void ref_score_norm_chunkwise(const ref_retention *r, size_t chunk, const double *q, const double *k, const double *v,
                              double *state, double *c2)
{
    size_t K = r->key_size, V = r->value_size, group = r->heads / r->kv_heads;
    double *o = ref_alloc(r->tokens * r->heads * V, sizeof *o);
    for (size_t h = 0; h < r->heads; h++) {
        double gamma = r->decay[h], *S = state + h * K * V;
        for (size_t first = 0; first < r->tokens; first += chunk) {
            size_t length = first + chunk < r->tokens ? chunk : r->tokens - first;
            double kv_scale = 1;
            for (size_t j = 0; j < V; j++) {
                double sum = 0;
                for (size_t i = 0; i < K; i++) sum += fabs(r->scale * S[i * V + j]) / ref_decay_sum(gamma, chunk - 1);
                kv_scale = fmax(kv_scale, sum);
            }
            for (size_t j = 0; j < length; j++) {
                double A = 0, root = sqrt(ref_decay_sum(gamma, j));
                for (size_t l = 0; l <= j; l++)
                    A += fabs(r->scale * ref_dot(row_of(q, first + j, r->heads, h, K),
                                                 row_of(k, first + l, r->kv_heads, h / group, K), K)) *
                         pow(gamma, (double)(j - l));
                double c = root * fmax(fmax(A / root, 1), kv_scale);
                c2[(first + j) * r->heads + h] = c * c;
            }
            read_chunk(r, h, first, length, q, k, v, S, o);
        }
    }
    free(o);
}

void ref_retention_chunkwise(const ref_retention *r, size_t chunk, const double *q, const double *k, const double *v,
                             double *state, double *o)
{
    memset(o, 0, r->tokens * r->heads * r->value_size * sizeof *o);
    for (size_t h = 0; h < r->heads; h++) {
        for (size_t first = 0; first < r->tokens; first += chunk) {
            size_t length = first + chunk < r->tokens ? chunk : r->tokens - first;
            read_chunk(r, h, first, length, q, k, v, state + h * r->key_size * r->value_size, o);
        }
    }
}
