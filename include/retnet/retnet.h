/* retnet.h: Retentive Networks (arXiv 2307.08621) on any Vulkan 1.1 GPU.
 *
 * In four steps:
 *
 *   retnet_context *context;   a Vulkan device and everything made once per device
 *   retnet_model   *model;     a checkpoint's weights, resident on that device
 *   retnet_session *session;   slots: one recurrent state each, resident on that device
 *
 *   1. retnet_context_create(&(retnet_context_desc){0}, &context);
 *   2. retnet_model_load(context, &(retnet_model_desc){.path = "dir"}, &model);
 *   3. retnet_session_create(model, &(retnet_session_desc){.slots = 1}, &session);
 *   4. retnet_session_run() reads tokens into a slot; retnet_session_generate() lets it speak.
 *
 * Destroy in the reverse order. Every desc may be zero-initialised; each field's comment says what 0 means.
 *
 * Errors. Calls that can fail return a retnet_result. The detail (which tensor, file, limit or Vulkan result; what was
 * expected and what was found) goes to the context's log callback and to retnet_context_last_message().
 * A failed call leaves its objects as they were unless its comment says otherwise.
 * A lost device stays lost: from the first RETNET_ERROR_DEVICE_LOST on, every call that makes, changes or reads models
 * and sessions of that context gives it. They can be destroyed, and a state that was saved before continues in a
 * new context.
 *
 * Threads. Objects of different contexts are independent. Within one context, one thread at a time may call functions
 * that take the same session; different sessions of one model may be used from different threads at once. Creating and
 * destroying models and sessions may run beside other sessions' calls. retnet_session_cancel() may be called from any
 * thread at any time. The library starts no threads.
 *
 * This header needs no Vulkan headers. Tokens are numbers here; text.h turns text into tokens.
 */
#ifndef RETNET_RETNET_H
#define RETNET_RETNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(RETNET_SHARED) && defined(_WIN32)
#ifdef RETNET_BUILD
#define RETNET_API __declspec(dllexport)
#else
#define RETNET_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define RETNET_API __attribute__((visibility("default")))
#else
#define RETNET_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header. While it is 0.x, every minor version may change the interface. */
#define RETNET_VERSION_MAJOR 0
#define RETNET_VERSION_MINOR 1
#define RETNET_VERSION_PATCH 0

/* ---- Results ---------------------------------------------------------------------------------------------------- */

/* X(name, value, text): every result there is, once. */
#define RETNET_RESULTS(X)                                                                                              \
    X(OK, 0, "success")                                                                                                \
    X(CANCELLED, 1, "cancelled by retnet_session_cancel or a callback")                                                \
    X(ERROR_INVALID_ARGUMENT, -1, "invalid argument")                                                                  \
    X(ERROR_OUT_OF_HOST_MEMORY, -2, "out of host memory")                                                              \
    X(ERROR_OUT_OF_DEVICE_MEMORY, -3, "out of device memory")                                                          \
    X(ERROR_NO_DEVICE, -4, "no suitable Vulkan device")                                                                \
    X(ERROR_DEVICE_LOST, -5, "the Vulkan device was lost")                                                             \
    X(ERROR_VULKAN, -6, "a Vulkan call failed")                                                                        \
    X(ERROR_FILE, -7, "a file could not be opened, read or written")                                                   \
    X(ERROR_FORMAT, -8, "a file's content is malformed")                                                               \
    X(ERROR_UNSUPPORTED, -9, "valid, but not supported by this library")                                               \
    X(ERROR_LIMIT, -10, "a limit of the device or the library is exceeded")                                            \
    X(ERROR_MISMATCH, -11, "the data belong to another model")                                                         \
    X(ERROR_INTERNAL, -12, "internal error, please report it")

/* How a call went: 0 or more is no failure. */
typedef enum retnet_result {
#define RETNET_RESULT_ENUM(name, value, text) RETNET_##name = (value),
    RETNET_RESULTS(RETNET_RESULT_ENUM)
#undef RETNET_RESULT_ENUM
} retnet_result;

/* The name ("RETNET_ERROR_FILE") and the meaning of a result. Never NULL; any thread. */
RETNET_API const char *retnet_result_name(retnet_result result);
RETNET_API const char *retnet_result_text(retnet_result result);

/* ---- Context ---------------------------------------------------------------------------------------------------- */

/* Handles: a device and what is made once for it, a checkpoint on it, slots with a state each. */
typedef struct retnet_context retnet_context;
typedef struct retnet_model retnet_model;
typedef struct retnet_session retnet_session;

/* How much a message matters. */
typedef enum retnet_log_level { RETNET_LOG_ERROR, RETNET_LOG_WARNING, RETNET_LOG_INFO } retnet_log_level;

/* Called from the thread that made the call. `message` is one line without a newline, valid during the call only. */
typedef void (*retnet_log_fn)(void *user, retnet_log_level level, const char *message);

/* Host memory. `allocate` returns memory aligned for any type, or NULL; `release` accepts NULL. Both may be called
 * from any thread that calls the library. */
typedef struct retnet_allocator {
    void *user;
    void *(*allocate)(void *user, size_t size); /* NULL: malloc and free are used */
    void (*release)(void *user, void *memory);
} retnet_allocator;

/* Progress of long work: `done` of `total` (bytes for a load). Return false to cancel; the call then returns
 * RETNET_CANCELLED and leaves nothing behind. */
typedef bool (*retnet_progress_fn)(void *user, uint64_t done, uint64_t total);

/* What a context is to be made with. Zero-initialised it means the defaults. */
typedef struct retnet_context_desc {
    retnet_allocator allocator;
    retnet_log_fn log; /* NULL: no log */
    void *log_user;
    const char *device_name;   /* case-insensitive part of a device name; NULL: any */
    uint32_t device_number;    /* 1-based index in Vulkan's order; 0: by name, else the first of discrete,
                                  integrated, virtual, CPU */
    uint32_t submit_budget_us; /* bound on one submit's device time in microseconds; 0: 100,000 on a device of our
                                  own, 8,000 on a host's (vulkan.h), where it is at least 500 */
    bool low_priority;         /* other programs' work on the device goes first, where it has VK_KHR_global_priority or
                                  VK_EXT_global_priority. Not for a host's device, whose queues the host has made */
    bool fixed_kernels;        /* choose kernels by rule alone, so that sums are the same to the bit in every run on a
                                  device. Else retnet_model_prepare chooses by measurement, except on CPUs */
    uint32_t pretend;          /* retnet_pretend bits: use less of the device than it has (for tests); 0: all */
    bool enable_validation;    /* enable VK_LAYER_KHRONOS_validation with synchronisation validation if installed;
                                  messages go to the log as errors */
} retnet_context_desc;

/* Features that a context can be told not to use. */
typedef enum retnet_pretend {
    RETNET_PRETEND_NO_SUBGROUP = 1 << 0,           /* no subgroup arithmetic */
    RETNET_PRETEND_NO_FLOAT16 = 1 << 1,            /* no fp16 arithmetic; 16-bit storage is never used */
    RETNET_PRETEND_NO_COOPERATIVE_MATRIX = 1 << 2, /* no matrix units */
    RETNET_PRETEND_MINIMUM_LIMITS = 1 << 3,        /* only the limits that Vulkan 1.1 guarantees, among them 128
                                                      invocations, 16 KiB of shared memory, 4 storage buffers, 128 bytes of
                                                      push constants and bindings of 128 MiB; allocations of 256 MiB */
    RETNET_PRETEND_DISCRETE = 1 << 4,              /* stage uploads even where memory is unified */
    RETNET_PRETEND_GPU = 1 << 5,                   /* choose kernels on a software driver as for a GPU */
    RETNET_PRETEND_NO_TIMELINE = 1 << 6,           /* no timeline semaphores */
    RETNET_PRETEND_NO_INT8 = 1 << 7,               /* no products of bytes, the only 8-bit arithmetic in use */
    /* Subgroups of so many invocations, where the device's own are larger; without matrix units then. */
    RETNET_PRETEND_SUBGROUP_4 = 4 << 8,
    RETNET_PRETEND_SUBGROUP_8 = 8 << 8,
    RETNET_PRETEND_SUBGROUP_16 = 16 << 8,
    RETNET_PRETEND_SUBGROUP_32 = 32 << 8,
    RETNET_PRETEND_SUBGROUP_64 = 64 << 8
} retnet_pretend;

/* Creates an instance and a device of the library's own. On failure *out is NULL and the reason went to desc->log.
 * `desc` may be NULL. */
RETNET_API retnet_result retnet_context_create(const retnet_context_desc *desc, retnet_context **out);
/* Accepts NULL. Its models and sessions must be gone. */
RETNET_API void retnet_context_destroy(retnet_context *context);

/* What a context runs on. */
typedef struct retnet_device_info {
    char name[256];
    char driver[256];    /* driver name and version as the driver words them */
    uint32_t vulkan;     /* the device's Vulkan version, as VK_MAKE_VERSION packs it */
    bool is_cpu;         /* a software driver */
    bool unified_memory; /* weights are mapped in place */
    uint32_t subgroup_size;
    uint64_t memory_bytes; /* largest device-local heap */
} retnet_device_info;

/* Tells what the context runs on. Any thread. */
RETNET_API void retnet_context_device_info(const retnet_context *context, retnet_device_info *info);

/* Copies the newest error message of this context, cut to `size` - 1 bytes, and returns its whole length.
 * Any thread; "" when there was none. */
RETNET_API size_t retnet_context_last_message(const retnet_context *context, char *buffer, size_t size);

/* The compiled kernels as bytes: saved at the end of one run and loaded at the start of the next, before the first
 * model, they spare it the compiling. save writes at most `capacity` bytes to `blob` (NULL: none) and the needed size
 * to *size, which grows while kernels are being made; a short capacity is RETNET_ERROR_LIMIT. load adds a blob's
 * kernels to the context's. One that is of another device, driver or version of this library, or is damaged or none at
 * all, is left alone: that is no error, *accepted (NULL: not wanted) is false, and the reason is logged as information.
 * The checksum finds damage, not malice: drivers trust such data, so load only what the program itself has saved. Any
 * thread. RETNET_ERROR_UNSUPPORTED where the host gave a VkPipelineCache (vulkan.h). */
RETNET_API retnet_result retnet_context_pipeline_cache_save(retnet_context *context, void *blob, size_t capacity,
                                                            size_t *size);
RETNET_API retnet_result retnet_context_pipeline_cache_load(retnet_context *context, const void *blob, size_t size,
                                                            bool *accepted);

/* One kernel family's share of the device's time since profiling was switched on. */
typedef struct retnet_profile_entry {
    const char *name; /* lives as long as the context */
    uint64_t dispatches;
    uint64_t nanoseconds; /* between timestamps around its dispatches */
    uint64_t bytes;       /* that the dispatches must at least move; 0: unknown */
} retnet_profile_entry;

/* Switches timestamps around dispatches on (clearing the counts) or off. Off by default: it costs overlap. No session
 * of the context may be running. RETNET_ERROR_UNSUPPORTED where the queue has no timestamps. */
RETNET_API retnet_result retnet_context_profile(retnet_context *context, bool enable);
/* Writes up to `capacity` entries, largest first, and returns how many there are. */
RETNET_API size_t retnet_context_profile_read(retnet_context *context, retnet_profile_entry *entries, size_t capacity);

/* ---- Model ------------------------------------------------------------------------------------------------------ */

/* How weight matrices are kept on the device. Norm weights, states and arithmetic are always fp32. Whatever the
 * checkpoint holds is converted; Q8 and Q4 may also be what it holds (samples/quantize/README.md), and Q4 made while
 * loading equals Q4 made by samples/quantize. */
typedef enum retnet_weight_format {
    RETNET_WEIGHTS_AS_STORED = 0, /* what the checkpoint holds */
    RETNET_WEIGHTS_F32,
    RETNET_WEIGHTS_F16,
    RETNET_WEIGHTS_BF16,
    RETNET_WEIGHTS_Q8, /* signed 8-bit, blocks of 32 along the input dimension, one f16 scale a block */
    RETNET_WEIGHTS_Q4  /* 4-bit, blocks of 32 along the input dimension, one f16 scale a block */
} retnet_weight_format;

RETNET_API const char *retnet_weight_format_name(retnet_weight_format format); /* "f16"; NULL if unknown */

/* What is to be loaded, and how. */
typedef struct retnet_model_desc {
    const char *path;            /* directory with config.json and model.safetensors, or with
                                    model.safetensors.index.json and its shards */
    retnet_weight_format format; /* 0: as stored */
    retnet_progress_fn progress; /* NULL: none */
    void *progress_user;
} retnet_model_desc;

/* Dimensions in the notation of the paper and of retnet.md: D hidden, H heads, K key and V value width of one head. */
typedef struct retnet_model_info {
    char architecture[64]; /* "fla" or "torchscale", and what is special about it */
    uint32_t hidden_size;  /* D */
    uint32_t layers;       /* L */
    uint32_t heads;        /* H */
    uint32_t key_value_heads;
    uint32_t key_size;          /* K */
    uint32_t value_size;        /* V */
    uint32_t intermediate_size; /* I, of the feed-forward layer */
    uint32_t vocabulary_size;
    int32_t bos_token; /* -1: none */
    int32_t eos_token; /* -1: none */
    retnet_weight_format format;
    uint64_t parameters;
    uint64_t weight_bytes; /* on the device */
    uint64_t state_bytes;  /* on the device, per slot */
} retnet_model_info;

/* Reads a checkpoint, checks all of it, and puts its weights on the device. Errors: FILE, FORMAT (malformed),
 * UNSUPPORTED (a config field or tensor that changes the computation in a way this library does not implement, by
 * name), LIMIT, OUT_OF_*_MEMORY, CANCELLED. What does not fit into what the system leaves this process of the device's
 * memory is OUT_OF_DEVICE_MEMORY before anything is allocated, with need and budget in the message; the same holds for
 * retnet_session_create. */
RETNET_API retnet_result retnet_model_load(retnet_context *context, const retnet_model_desc *desc, retnet_model **out);

/* What a model takes. */
typedef struct retnet_model_memory {
    uint64_t device_bytes; /* weights and tables, device-local, as long as the model lives */
    uint64_t host_bytes;   /* staging and host memory, while it is loaded */
} retnet_model_memory;

/* What retnet_model_load with this desc would allocate, from the config and the headers of the files: the weights are
 * not read. The same checks and errors as retnet_model_load, save those of the weights' content. Any thread. */
RETNET_API retnet_result retnet_model_memory_for(retnet_context *context, const retnet_model_desc *desc,
                                                 retnet_model_memory *memory);

/* A model of a given shape with pseudo-random weights made on the device, for benchmarks.
 * `shape` is one of "30m", "1.3b", "2.7b", "6.7b". `format` 0 means F16. */
RETNET_API retnet_result retnet_model_synthesize(retnet_context *context, const char *shape,
                                                 retnet_weight_format format, retnet_model **out);

/* Accepts NULL. Its sessions must be gone. */
RETNET_API void retnet_model_destroy(retnet_model *model);
RETNET_API void retnet_model_get_info(const retnet_model *model, retnet_model_info *info);
RETNET_API retnet_context *retnet_model_context(const retnet_model *model);

/* ---- Session ---------------------------------------------------------------------------------------------------- */

/* What a session is to be made with. Zero-initialised it means the defaults. */
typedef struct retnet_session_desc {
    uint32_t slots;             /* sequences with a state each; 0: 1 */
    uint32_t prompt_chunk;      /* most tokens of all prompts together that one pass reads; 0: chosen for the device
                                   and the model, up to 4096. What passes take is in retnet_session_memory */
    uint32_t snapshots;         /* that can be kept at once (retnet_session_snapshot), at most 4096; 0: none */
    uint32_t tokens_per_submit; /* most tokens of a slot that generation makes in one submit, at most 64, since a cancel
                                   or a callback is seen between submits; 0: as many as take at most 40 ms, within
                                   the context's submit_budget_us, and 1 on a software driver. Where not 1, up to four
                                   more states are allocated, so that a callback's false can be obeyed in the middle */
} retnet_session_desc;

/* What a session takes. */
typedef struct retnet_session_memory {
    uint64_t device_bytes; /* states and activations */
    uint64_t state_bytes;  /* of these, states: one for each slot, each snapshot, and see tokens_per_submit */
    uint64_t host_bytes;   /* host-visible buffers */
} retnet_session_memory;

/* What retnet_session_create with this desc would allocate. Allocates nothing. */
RETNET_API retnet_result retnet_session_memory_for(const retnet_model *model, const retnet_session_desc *desc,
                                                   retnet_session_memory *memory);

/* Which kernels are to be made, and who hears of it. */
typedef struct retnet_prepare_desc {
    retnet_session_desc session; /* the sessions to be made: how many slots, how long a prompt's passes */
    retnet_progress_fn progress; /* counts kernels; NULL: none */
    void *progress_user;
} retnet_prepare_desc;

/* Makes every kernel that sessions of this desc will run, so that none is made later, in the middle of a frame. What is
 * there already, also by retnet_context_pipeline_cache_load, costs little. On the calling thread; called from several
 * at once with the same desc, each makes a share, and all return when everything is there. Any thread, also beside
 * running sessions. Cancelled, what was made stays. `desc` may be NULL. Without this call, kernels are made when they
 * are first needed.
 *
 * Where kernels of a matrix compete, it then times them on the device, in submits of a few milliseconds and once for
 * each shape of a matrix and format; sessions take the fastest from then on, and retnet_context_pipeline_cache_save
 * keeps the choice. They add in different orders, so that sums differ in their last bits: see
 * retnet_context_desc.fixed_kernels. */
RETNET_API retnet_result retnet_model_prepare(retnet_model *model, const retnet_prepare_desc *desc);

/* Every slot starts empty: state zero, position 0. `desc` may be NULL. */
RETNET_API retnet_result retnet_session_create(retnet_model *model, const retnet_session_desc *desc,
                                               retnet_session **out);
/* Accepts NULL. */
RETNET_API void retnet_session_destroy(retnet_session *session);

/* Tokens of one slot in a run. */
typedef struct retnet_span {
    uint32_t slot;
    const int32_t *tokens; /* [count], each in [0, vocabulary_size) */
    size_t count;          /* at least 1 */
    float *last_logits;    /* [vocabulary_size] after the last token; NULL: not wanted */
    float *all_logits;     /* [count, vocabulary_size] after every token; NULL: not wanted */
    float *log_probs;      /* [count]: element i is ln p(tokens[i] | what came before it in the slot); element 0 is NaN
                              where the slot was empty or its last logits are not known. NULL: not wanted */
} retnet_span;

/* Reads tokens: appends spans[i].tokens to the slot's sequence and advances its state, in chunkwise form where a span
 * has several tokens and in recurrent form where it has one. Slots must differ; spans of any lengths mix. All arguments
 * are checked before anything changes. Cancelled, each slot stands after the last of its tokens that a pass of the run
 * had begun with: retnet_session_position tells which. What is left to do of that pass is done by the next call that
 * needs it (and can then be cancelled again). Logits and log_probs that a cancelled run has not come to are not
 * written. After an error of the device the slots of the batch are undefined; reset or load them. */
RETNET_API retnet_result retnet_session_run(retnet_session *session, const retnet_span *spans, size_t span_count);

/* Added to a token's logit before anything else; may be -INFINITY, else finite. */
typedef struct retnet_logit_bias {
    int32_t token; /* in [0, vocabulary_size) */
    float bias;
} retnet_logit_bias;

/* How the next token is chosen. Applied in this order: logit bias and banned tokens, repetition penalty, temperature,
 * top-k, top-p, min-p; the survivors are renormalised and drawn from with a counter-based generator. Tokens of equal
 * logits survive together or not at all. A logit that is NaN is never chosen.
 * It happens on the device, in arithmetic that is the same on every one: the same logits, sampling and number of tokens
 * read give the same token. Probabilities are kept to 2^-40 of the likeliest token's and to some 1e-7 of themselves. */
typedef struct retnet_sampling {
    float temperature;        /* 0: greedy (largest logit, lowest id on a tie); otherwise > 0 */
    uint32_t top_k;           /* keep the k most likely; 0: all */
    float top_p;              /* keep the smallest set with at least this mass, in (0, 1]; 0: all */
    float min_p;              /* drop tokens less likely than min_p times the likeliest, in [0, 1); 0: none */
    float repetition_penalty; /* logits of recent tokens are divided (positive) or multiplied (negative) by it; 0 or 1:
                                 none */
    uint32_t repetition_window;      /* how many recent tokens of the slot count, at most 256; 0: 64 */
    uint64_t seed;                   /* same seed, same state, same device: same text */
    const retnet_logit_bias *biases; /* [bias_count]; those of one token add up; NULL: none */
    size_t bias_count;
    const int32_t *banned_tokens; /* [banned_count], never chosen; biases and these may name 512 tokens; NULL: none */
    size_t banned_count;
} retnet_sampling;

/* A new token of a slot. Return false to stop that slot; the token has then been produced but not read back in. */
typedef bool (*retnet_token_fn)(void *user, uint32_t slot, int32_t token);

/* Who is to speak, how, for how long, and where to. */
typedef struct retnet_generation {
    const uint32_t *slots; /* [slot_count], distinct, each with at least one token read; NULL: slot 0 alone */
    size_t slot_count;
    retnet_sampling sampling;
    const int32_t *end_tokens; /* [end_token_count]: stops a slot; is reported by the callback, and is not read in */
    size_t end_token_count;    /* at most 256 */
    uint32_t max_tokens;       /* per slot; 0: until an end token */
    retnet_token_fn token;     /* NULL: none. Of the session's functions it may call _busy, _position and _cancel */
    void *token_user;
    int32_t *tokens;  /* [slot_count, max_tokens], filled with the tokens made; NULL: not wanted */
    float *log_probs; /* [slot_count, max_tokens], ln p(token | what came before) by the model alone, that is without
                         bias, penalty and temperature; NULL: not wanted */
    uint32_t *token_counts; /* [slot_count], how many tokens each slot made (an end token included); NULL: not wanted */
} retnet_generation;

/* Generates until every slot met an end token, its maximum, or its callback's false. Every token that was made, save a
 * slot's last, has been read into its state: the slot stands just before its last token, and its next-token logits
 * are known, so that generation can go on or the next run can append. Returns RETNET_CANCELLED after
 * retnet_session_cancel, with the session whole; if that came while the last tokens made were being read, they count as
 * read as well (retnet_session_position), and as in retnet_session_run the next call does what is left of it. */
RETNET_API retnet_result retnet_session_generate(retnet_session *session, const retnet_generation *generation);

/* ---- Tasks: work that is done a slice at a time, beside a host's frames ------------------------------------------

   retnet_session_start() says what a slot is to do. From then on retnet_session_step(), called once a frame, or
   retnet_session_record() and _collect() of vulkan.h, do as much of all slots' tasks as a budget of device time allows,
   and never wait. Slices end between layers, so that one token of a large model can be spread over several frames.
   Slots that make tokens advance together, prompts beside them, and neither starves the other. Every token is
   made by the same kernels that retnet_session_run() and retnet_session_generate() would use for as many slots; where a
   GPU has others for other numbers of slots, the last bits of logits depend on the company. */

/* What a slot is to do: read, then generate. */
typedef struct retnet_task {
    uint32_t slot;
    const int32_t *tokens; /* [count] to be read first; copied. NULL: none, then the slot must have logits */
    size_t count;
    uint32_t max_tokens; /* to be made then, at most; 0: only read */
    retnet_sampling sampling;
    const int32_t *end_tokens; /* [end_token_count], as of a retnet_generation; copied */
    size_t end_token_count;
    retnet_token_fn token; /* NULL: none. Called by retnet_session_step, _wait and _collect; false ends the task as
                              retnet_session_stop does. Of the session's functions it may call _stop, _busy, _position
                              and _cancel */
    void *token_user;
} retnet_task;

/* Gives a slot a task; it must have none. Nothing runs yet. While a slot has a task, functions that would change it
 * are INVALID_ARGUMENT, and while it makes tokens so are those that look at its state, and retnet_session_generate.
 * Errors: INVALID_ARGUMENT, LIMIT, OUT_OF_HOST_MEMORY; the slot is then as it was. */
RETNET_API retnet_result retnet_session_start(retnet_session *session, const retnet_task *task);
/* Ends a slot's task, if it has one: at once, or, if a part of it is in progress, when that part is done and taken in.
 * The device may be some tokens ahead: those are still reported by the callback, so that the slot always stands just
 * before the last token that was reported (or, if none was, after what retnet_session_position says). End tokens and
 * max_tokens are obeyed exactly. */
RETNET_API retnet_result retnet_session_stop(retnet_session *session, uint32_t slot);
/* Whether the slot has a task. A task that has come to its end leaves the slot as retnet_session_run and _generate do:
 * all tokens have been read but the last one made. */
RETNET_API bool retnet_session_busy(const retnet_session *session, uint32_t slot);

/* What a step did. */
typedef struct retnet_step_info {
    uint32_t tasks;       /* still to be worked on */
    uint32_t tokens_read; /* since the last report, prompts' and made ones */
    uint32_t tokens_made;
    uint32_t slices;    /* finished since then */
    uint64_t device_ns; /* that these took on the device; 0 where a queue has no timestamps */
    bool pending;       /* a slice is on the device, or with vulkan.h in the host's command buffers */
} retnet_step_info;

/* Takes in what earlier slices have finished, which calls the tasks' callbacks, then submits as much work as is
 * expected to take budget_us of device time, but at least half a layer, and returns without waiting. Expectations are
 * measured: the first slices are small. budget_us 0: only takes in. If two slices are still on the device, nothing is
 * submitted. `info` may be NULL. After an error of the device all tasks have ended, and their slots are undefined. */
RETNET_API retnet_result retnet_session_step(retnet_session *session, uint32_t budget_us, retnet_step_info *info);
/* Waits until submitted slices are done, and takes them in. */
RETNET_API retnet_result retnet_session_wait(retnet_session *session);

/* ---- Slots ------------------------------------------------------------------------------------------------------ */

/* Stops the session's current run or generate within the time of one submit; it returns RETNET_CANCELLED. Any thread,
 * also a signal handler. Without a call in progress nothing happens. */
RETNET_API void retnet_session_cancel(retnet_session *session);

/* Number of tokens that the slot's state has read. 0 for a slot that does not exist. */
RETNET_API uint64_t retnet_session_position(const retnet_session *session, uint32_t slot);
RETNET_API retnet_model *retnet_session_model(const retnet_session *session);

/* Empties a slot. */
RETNET_API retnet_result retnet_session_reset(retnet_session *session, uint32_t slot);
/* Makes `to` an independent copy of `from`: state, position, recent tokens and last logits. The state is shared until
 * one of them changes, so that a fork moves nothing on the device. */
RETNET_API retnet_result retnet_session_fork(retnet_session *session, uint32_t from, uint32_t to);

/* Keeps what `slot` is now (state, position, recent tokens, last logits) as snapshot number `snapshot` of the session,
 * in [0, retnet_session_desc.snapshots), in place of what that number held. As with a fork, the state is copied on the
 * device when the slot next changes, and not before. Its memory was allocated with the session.
 * INVALID_ARGUMENT if there is no such slot or snapshot. */
RETNET_API retnet_result retnet_session_snapshot(retnet_session *session, uint32_t slot, uint32_t snapshot);
/* Makes `slot` what the snapshot holds, as often as wanted: the snapshot stays until it is taken anew. The slot may be
 * another than the one that the snapshot was taken of, and one whose last run failed. INVALID_ARGUMENT if there is no
 * such slot or snapshot, or if nothing was ever kept under that number; the slot is then as it was. */
RETNET_API retnet_result retnet_session_rollback(retnet_session *session, uint32_t slot, uint32_t snapshot);

/* A slot as bytes: versioned, checksummed, little-endian; it names the model by a hash of config and weights.
 * save writes at most `capacity` bytes to `blob` (NULL: none) and the needed size to *size; a short capacity is
 * RETNET_ERROR_LIMIT. load checks everything before the slot changes: FORMAT for a damaged blob, MISMATCH for another
 * model's. */
RETNET_API retnet_result retnet_session_save(retnet_session *session, uint32_t slot, void *blob, size_t capacity,
                                             size_t *size);
RETNET_API retnet_result retnet_session_load(retnet_session *session, uint32_t slot, const void *blob, size_t size);
/* The same to and from a file. A failed save leaves an older file of that name as it was. */
RETNET_API retnet_result retnet_session_save_file(retnet_session *session, uint32_t slot, const char *path);
RETNET_API retnet_result retnet_session_load_file(retnet_session *session, uint32_t slot, const char *path);

/* The raw recurrent state of one layer, in the layout of flash-linear-attention's recurrent_state:
 *
 *     S_n[h][i][j] = sum over m <= n of decay_h^(n-m) * k_m[h][i] * v_m[h][j]      [heads, K, V] fp32, key-major
 *
 * with rotated keys k_m that are not scaled by K^(-1/2). Elements i and i + K/2 of a key are a pair of the rotation,
 * also where the checkpoint is torchscale's. With grouped keys and values there is still a state for each head. `state`
 * has heads*K*V elements. Setting it does not change the position, see retnet_session_set_position, and forgets the
 * last logits. INVALID_ARGUMENT for a slot or layer that does not exist. */
RETNET_API retnet_result retnet_session_get_state(retnet_session *session, uint32_t slot, uint32_t layer, float *state);
RETNET_API retnet_result retnet_session_set_state(retnet_session *session, uint32_t slot, uint32_t layer,
                                                  const float *state);
/* The same state in the layout of torchscale's incremental_state[layer], of one sequence (torchscale/component/
 * multiscale_retention.py, recurrent_forward):
 *
 *     scale[h] = 1 + decay_h + ... + decay_h^n                          [heads] fp32; n + 1 tokens were read
 *     key_value[h][j][c(i)] = K^(-1/2) * S_n[h][i][j] / sqrt(scale[h])  [heads, V, K] fp32, value-major
 *
 * where torchscale's rotation pairs neighbours: c(i) = 2i and c(i + K/2) = 2i + 1 for i < K/2.
 *
 * get takes the scale from the slot's position. An empty slot gives zeros for both, from which torchscale's recurrence
 * goes on as from its first step; INVALID_ARGUMENT if a state was set without a position.
 * set makes S of key_value with the scale that is given. It does not change the position: declare the tokens that were
 * read with retnet_session_set_position. Both from one sequence, the session continues it to rounding.
 * INVALID_ARGUMENT for a slot or layer that does not exist, and for a scale that is negative or not finite. */
RETNET_API retnet_result retnet_session_get_state_torchscale(retnet_session *session, uint32_t slot, uint32_t layer,
                                                             float *key_value, float *scale);
RETNET_API retnet_result retnet_session_set_state_torchscale(retnet_session *session, uint32_t slot, uint32_t layer,
                                                             const float *key_value, const float *scale);
/* Declares how many tokens a slot's imported state has read; at most 2^30. Forgets the last logits and the recent
 * tokens that a repetition penalty looks at. */
RETNET_API retnet_result retnet_session_set_position(retnet_session *session, uint32_t slot, uint64_t position);

#ifdef __cplusplus
}
#endif
#endif
