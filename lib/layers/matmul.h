/* matmul.h: projections of many columns on matrix units: f16 activations, weights of any format taken as f16, fp32
 * sums. */
#ifndef RETNET_LAYERS_MATMUL_H
#define RETNET_LAYERS_MATMUL_H

#include "layers/linear.h"

/* A workgroup's tile, a subgroup's part of it, and parts that the inputs are cut into; tokens 0: chosen for the problem
 * and the device. */
typedef struct rn_matmul_tile {
    uint32_t tokens, rows, sub_tokens, sub_rows, splits;
} rn_matmul_tile;

/* How matmul_narrow_direct.comp shares out its work; row_groups 0: chosen for the problem and the device. */
typedef struct rn_narrow_shape {
    uint32_t row_groups, k_groups; /* of the subgroups of a workgroup */
    uint32_t splits;               /* parts that the inputs are cut into among workgroups */
    uint32_t ahead;                /* blocks under way at once */
} rn_narrow_shape;

/* How operands reach the units. What the device, the build or the buffers lack is not chosen. */
typedef enum rn_matmul_way {
    RN_MATMUL_FASTEST,
    RN_MATMUL_BOUND, /* straight from memory, by bindings even where addresses are known */
    RN_MATMUL_STAGED /* through shared memory */
} rn_matmul_way;

typedef struct rn_matmul {
    const rn_matrix *matrix;
    rn_binding input;  /* f16 (shaders/halves.glsl); finite from the matrix's inputs up to a multiple of 32; columns up
                          to a multiple of 64 are there */
    rn_binding output; /* fp32, or f16 */
    uint32_t columns;  /* tokens */
    uint32_t x_room;   /* tokens that the input has room for */
    uint32_t y_stride; /* floats, or the room of f16 */
    rn_linear_epilogue epilogue;
    uint32_t activation;   /* 0 none, else 1 + rn_activation */
    bool halves;           /* the output is f16, clamped to its range, and zero from the rows up to a multiple of 32 */
    rn_matmul_tile tile;   /* not of the narrow kind */
    rn_narrow_shape shape; /* only of that */
    rn_matmul_way way;
    /* Not of the narrow kind: memory where 8- or 4-bit weights may be unpacked to f16 beforehand. Smaller than that
     * matrix, or none: they are not. */
    rn_binding unpacked;
    rn_binding partials; /* of the narrow kind: rn_matmul_narrow_bytes; what counts is zero before and after */
} rn_matmul;

/* ---- What all its kernels share ---- */

/* The constants of matmul_problem.glsl, which every kernel's begin with. */
enum { RN_MATMUL_CONSTANTS = 9 };
void rn_matmul_constants(const rn_device *device, const rn_matmul *matmul, uint32_t invocations, uint32_t *constants);

/* A kernel, and how its workgroups lie over rows of W, columns and parts of the inputs. */
typedef struct rn_matmul_choice {
    const rn_kernel *kernel;
    uint32_t rows;       /* of a workgroup */
    uint32_t others;     /* workgroups for the same rows */
    bool others_first;   /* they are x of a dispatch and rows are y, else the other way round */
    uint32_t begin, end; /* panels of W; end 0: all */
} rn_matmul_choice;

/* False, and the recording failed, if matrix and epilogue differ or the input has more than 2 GiB. */
bool rn_matmul_check(rn_recorder *recorder, const rn_matmul *matmul);
/* A dispatch for as many panels at a time as `step` allows. */
void rn_matmul_dispatch(rn_recorder *recorder, const rn_matmul *matmul, const rn_matmul_choice *choice, uint32_t step);

/* ---- matmul.c ---- */

/* Bytes of a binding at most, which its kernels promise their compiler (shaders/matmul_operands.glsl). */
#define RN_MATMUL_MOST_BYTES (1ull << 31)

/* The fewest columns for which reading activations and weights through shared memory beats linear.comp. */
enum { RN_MATMUL_FEWEST_COLUMNS = 32 };

/* Whether the device and this build can, and it is worth it for so many columns. */
bool rn_matmul_suits(const rn_device *device, uint32_t columns);
/* Whether matrix units are worth it at all. Those of software drivers are slower than doing without. */
bool rn_matmul_pays(const rn_device *device);

void rn_matmul_record(rn_recorder *recorder, const rn_matmul *matmul);

/* For kernels that begin like matmul_direct.comp: the tile that suits, and the constants up to SPLITS. With `large` the
 * subgroups of a GPU own 64 x 64. */
enum { RN_MATMUL_TILE_CONSTANTS = RN_MATMUL_CONSTANTS + 6 };
rn_matmul_tile rn_matmul_direct_tile(const rn_device *device, const rn_matmul *matmul, bool large,
                                     uint32_t constants[RN_MATMUL_TILE_CONSTANTS]);
/* Whether its operands' addresses are known, for kernels that go by these, and not to be left aside. */
bool rn_matmul_has_addresses(const rn_device *device, const rn_matmul *matmul);
/* Whether tokens are so many that unpacking all weights takes less time than tiles of tokens lose by doing it, and the
 * memory for it is there. */
bool rn_matmul_unpacks(const rn_device *device, const rn_matmul *matmul);
/* Does that, if so; the matrix is then `halves`. */
void rn_matmul_unpack(rn_recorder *recorder, rn_matmul *matmul, rn_matrix *halves);

/* ---- matmul_narrow.c: the same for few columns (32, staged 64), bound by reading the weights ---- */

enum { RN_NARROW_COUNTERS = 4096 }; /* words of its scratch memory that count */

bool rn_matmul_narrow_suits(const rn_device *device, uint32_t columns);
uint64_t rn_matmul_narrow_bytes(const rn_device *device); /* of scratch memory; 0: never suits */
void rn_matmul_narrow_record(rn_recorder *recorder, const rn_matmul *matmul);

#endif
