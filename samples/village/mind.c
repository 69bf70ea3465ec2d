/* mind.c: see mind.h. */
#include "mind.h"

#include "preparing.h"
#include "report.h"

#include <retnet/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NO_TOKEN = -1, MAX_TOKENS = 512, ANSWER_TOKENS = 160, END_TOKENS = 4, PATH_LENGTH = 4096 };

typedef struct mind {
    retnet_text_stream *stream;
    int32_t newest; /* token of the answer that is being made */
    int32_t unread; /* an answer's last token if that was no end token: the state has not read it, the next line will */
    int32_t kept_unread;
    bool working, answering;
    bool small_talk;
    bool leaving; /* small talk is over, but the slot still has its task */
} mind;

struct minds {
    minds_desc desc;
    char message[512]; /* the library's newest error */
    retnet_context *context;
    retnet_model *model;
    retnet_session *session;
    retnet_tokenizer *tokenizer;
    retnet_model_info info;
    retnet_session_memory memory;
    mind *minds; /* [desc.count] */
    int32_t bos, system_marker, user_marker, bot_marker;
    int32_t end_tokens[END_TOKENS];
    size_t end_token_count;
    uint64_t answers; /* so far, for seeds */
    int marked;
    int32_t marked_unread;
};

static bool fail(minds *minds, const char *what, retnet_result result)
{
    const bool known = *minds->message;
    report("%s: %s%s%s", what, known ? minds->message : "", known ? ": " : "", retnet_result_text(result));
    *minds->message = 0;
    return false;
}

static bool check(minds *minds, const char *what, retnet_result result)
{
    return result == RETNET_OK || fail(minds, what, result);
}

/* Errors are reported by whoever made the call. */
static void on_log(void *user, retnet_log_level level, const char *message)
{
    minds *minds = user;
    if (level == RETNET_LOG_ERROR) snprintf(minds->message, sizeof minds->message, "%s", message);
    if (level == RETNET_LOG_WARNING) report("%s", message);
}

/* ---- Hearing and answering -------------------------------------------------------------------------------------- */

typedef struct sentence {
    int32_t tokens[MAX_TOKENS];
    size_t count;
} sentence;

static void add_token(sentence *sentence, int32_t token)
{
    if (token != NO_TOKEN && sentence->count < MAX_TOKENS) sentence->tokens[sentence->count++] = token;
}

/* What is too long is cut; `reserve` tokens are left for what follows. */
static void add_text(const minds *minds, sentence *sentence, const char *text, size_t reserve)
{
    size_t count = 0, room = MAX_TOKENS - reserve - sentence->count;
    retnet_result result = retnet_tokenizer_encode(minds->tokenizer, text, strlen(text), false,
                                                   sentence->tokens + sentence->count, room, &count);
    if (result == RETNET_OK || result == RETNET_ERROR_LIMIT) sentence->count += count < room ? count : room;
}

static bool is_end(const minds *minds, int32_t token)
{
    for (size_t i = 0; i < minds->end_token_count; i++)
        if (minds->end_tokens[i] == token) return true;
    return false;
}

static bool on_token(void *user, uint32_t slot, int32_t token)
{
    minds *minds = user;
    mind *mind = &minds->minds[slot];
    const char *text;
    size_t size;
    mind->newest = token;
    if (!is_end(minds, token) && retnet_text_stream_add(mind->stream, token, &text, &size) == RETNET_OK && size)
        minds->desc.piece(minds->desc.user, (int)slot, text, size);
    return true;
}

static bool start(minds *minds, int index, const sentence *sentence, bool answer)
{
    mind *mind = &minds->minds[index];
    retnet_task task = {
        .slot = (uint32_t)index,
        .tokens = sentence->tokens,
        .count = sentence->count,
        .max_tokens = answer ? ANSWER_TOKENS : 0,
        .sampling = {.temperature = minds->desc.temperature,
                     .top_p = 0.9f,
                     .seed = minds->desc.seed + minds->answers++},
        .end_tokens = minds->end_tokens,
        .end_token_count = minds->end_token_count,
        .token = on_token,
        .token_user = minds,
    };
    if (!check(minds, "a villager cannot listen", retnet_session_start(minds->session, &task))) return false;
    mind->working = true;
    mind->answering = answer;
    mind->newest = mind->unread = NO_TOKEN;
    return true;
}

bool minds_introduce(minds *minds, int index, const char *persona)
{
    sentence sentence = {.count = 0};
    add_token(&sentence, minds->bos);
    add_token(&sentence, minds->system_marker);
    add_text(minds, &sentence, persona, 0);
    return start(minds, index, &sentence, false);
}

bool minds_hear(minds *minds, int index, const char *line)
{
    sentence sentence = {.count = 0};
    add_token(&sentence, minds->minds[index].unread);
    add_token(&sentence, minds->user_marker);
    add_text(minds, &sentence, line, 1);
    add_token(&sentence, minds->bot_marker);
    return start(minds, index, &sentence, true);
}

static bool come_back(minds *minds, int index)
{
    mind *mind = &minds->minds[index];
    mind->leaving = false;
    mind->unread = mind->kept_unread;
    return check(minds, "a villager cannot forget",
                 retnet_session_rollback(minds->session, (uint32_t)index, (uint32_t)index));
}

/* What a task leaves to be done. */
static bool finish(minds *minds, int index)
{
    mind *mind = &minds->minds[index];
    const char *text;
    size_t size;
    mind->working = false;
    bool flushed = retnet_text_stream_flush(mind->stream, &text, &size) == RETNET_OK;
    if (mind->leaving) return come_back(minds, index);
    if (!mind->answering) return true;
    if (flushed && size) minds->desc.piece(minds->desc.user, index, text, size);
    if (mind->newest != NO_TOKEN && !is_end(minds, mind->newest)) mind->unread = mind->newest;
    minds->desc.done(minds->desc.user, index);
    return true;
}

static bool finish_all(minds *minds)
{
    bool good = true;
    for (int i = 0; i < minds->desc.count; i++)
        if (minds->minds[i].working && !retnet_session_busy(minds->session, (uint32_t)i)) good &= finish(minds, i);
    return good;
}

static void add_info(minds_frame *frame, const retnet_step_info *info)
{
    frame->busy = info->tasks;
    frame->tokens_read += info->tokens_read;
    frame->tokens_made += info->tokens_made;
    frame->device_us += info->device_ns / 1000;
}

bool minds_step(minds *minds, uint32_t budget_us, minds_frame *frame)
{
    retnet_step_info info = {0};
    if (!check(minds, "the villagers cannot think", retnet_session_step(minds->session, budget_us, &info)))
        return false;
    add_info(frame, &info);
    return finish_all(minds);
}

bool minds_wait(minds *minds, minds_frame *frame)
{
    if (!check(minds, "the villagers cannot think", retnet_session_wait(minds->session))) return false;
    return minds_step(minds, 0, frame);
}

static bool settle(minds *minds, minds_waiting waiting)
{
    enum { SETTLE_BUDGET = 8000 };
    const uint64_t count = (uint64_t)minds->desc.count;
    for (minds_frame frame = {.busy = 1}; frame.busy;) {
        if (!minds_step(minds, SETTLE_BUDGET, &frame) || !minds_wait(minds, &frame)) return false;
        if (waiting && !waiting(minds->desc.user, "The villagers wake up", count - frame.busy, count)) return false;
    }
    return true;
}

bool minds_settle(minds *minds)
{
    return settle(minds, NULL);
}

static retnet_session_desc session_desc(const minds *minds)
{
    const uint32_t count = (uint32_t)minds->desc.count;
    return (retnet_session_desc){.slots = count, .snapshots = count + 1};
}

static bool make_kernels(minds *minds, minds_waiting waiting)
{
    const struct timespec moment = {0, 5000000};
    const retnet_session_desc desc = session_desc(minds);
    preparing *preparing = preparing_start(minds->model, &desc, 0);
    if (!preparing) return report("out of memory");
    for (preparing_progress at; !(at = preparing_look(preparing)).ended; nanosleep(&moment, NULL))
        if (!waiting(minds->desc.user, "The village is being built", at.done, at.total)) preparing_cancel(preparing);
    const retnet_result result = preparing_end(preparing);
    return result != RETNET_CANCELLED && check(minds, "the kernels cannot be made", result);
}

bool minds_wake(minds *minds, minds_waiting waiting)
{
    return make_kernels(minds, waiting) && settle(minds, waiting);
}

bool minds_ready(const minds *minds, int mind)
{
    return !minds->minds[mind].working;
}

/* ---- Remembering and forgetting --------------------------------------------------------------------------------- */

bool minds_begin_small_talk(minds *minds, int index)
{
    mind *mind = &minds->minds[index];
    mind->small_talk = true;
    mind->kept_unread = mind->unread;
    return check(minds, "a villager cannot remember",
                 retnet_session_snapshot(minds->session, (uint32_t)index, (uint32_t)index));
}

bool minds_end_small_talk(minds *minds, int index)
{
    mind *mind = &minds->minds[index];
    if (!mind->small_talk) return true;
    mind->small_talk = false;
    if (!mind->working) return come_back(minds, index);
    mind->leaving = true;
    return check(minds, "a villager cannot be hushed", retnet_session_stop(minds->session, (uint32_t)index));
}

void minds_keep(minds *minds, int index)
{
    minds->minds[index].small_talk = false;
}

bool minds_mark(minds *minds, int index)
{
    minds->marked = index;
    minds->marked_unread = minds->minds[index].unread;
    return check(minds, "a villager cannot remember",
                 retnet_session_snapshot(minds->session, (uint32_t)index, (uint32_t)minds->desc.count));
}

int minds_marked(const minds *minds)
{
    return minds->marked;
}

bool minds_rewind(minds *minds)
{
    const int index = minds->marked;
    minds->marked = -1;
    minds->minds[index].unread = minds->marked_unread;
    return check(minds, "a villager cannot go back",
                 retnet_session_rollback(minds->session, (uint32_t)index, (uint32_t)minds->desc.count));
}

/* The unread token, then the library's own bytes. */
bool minds_save(minds *minds, int index, void *bytes, size_t capacity, size_t *size)
{
    const int32_t unread = minds->minds[index].unread;
    uint8_t *out = bytes;
    size_t needed = 0;
    if (out && capacity < 4) return false;
    retnet_result result =
        retnet_session_save(minds->session, (uint32_t)index, out ? out + 4 : NULL, out ? capacity - 4 : 0, &needed);
    if (!out && result == RETNET_ERROR_LIMIT) result = RETNET_OK;
    *size = needed + 4;
    for (int i = 0; out && i < 4; i++) out[i] = (uint8_t)((uint32_t)unread >> 8 * i);
    return check(minds, "a villager cannot be saved", result);
}

bool minds_load(minds *minds, int index, const void *bytes, size_t size)
{
    const uint8_t *in = bytes;
    uint32_t unread = 0;
    if (size < 4) return report("a villager's bytes are cut off");
    for (int i = 0; i < 4; i++) unread |= (uint32_t)in[i] << 8 * i;
    if (unread != (uint32_t)NO_TOKEN && unread >= minds->info.vocabulary_size)
        return report("a villager's bytes are damaged");
    if (!check(minds, "a villager cannot be loaded",
               retnet_session_load(minds->session, (uint32_t)index, in + 4, size - 4)))
        return false;
    minds->minds[index].unread = (int32_t)unread;
    minds->marked = -1;
    return true;
}

/* ---- What there is to know -------------------------------------------------------------------------------------- */

uint64_t minds_position(const minds *minds, int mind)
{
    return retnet_session_position(minds->session, (uint32_t)mind);
}

minds_memory minds_get_memory(const minds *minds)
{
    return (minds_memory){.weight_bytes = minds->info.weight_bytes,
                          .state_bytes = minds->info.state_bytes,
                          .states = minds->memory.state_bytes / minds->info.state_bytes,
                          .session_bytes = minds->memory.device_bytes};
}

void minds_describe(const minds *minds, char *line, size_t size)
{
    retnet_device_info device;
    retnet_context_device_info(minds->context, &device);
    snprintf(line, size, "%s · %.1f M parameters, %s", device.name, (double)minds->info.parameters * 1e-6,
             retnet_weight_format_name(minds->info.format));
}

/* ---- Life ------------------------------------------------------------------------------------------------------- */

/* Where the bundled model is: beside the program's build folder, or where it was at build time. */
static void find_model(char path[PATH_LENGTH])
{
    static const char beside[] = "../../../samples/chat/model";
    char program[PATH_LENGTH / 2], config[PATH_LENGTH];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = 0;
    char *slash = strrchr(program, '/');
    if (slash) {
        slash[1] = 0;
        snprintf(path, PATH_LENGTH, "%s%s", program, beside);
        snprintf(config, sizeof config, "%s%s/config.json", program, beside);
        if (access(config, R_OK) == 0) return;
    }
    snprintf(path, PATH_LENGTH, "%s", VILLAGE_MODEL_DIRECTORY);
}

static void add_end_token(minds *minds, int32_t token)
{
    if (token != NO_TOKEN && !is_end(minds, token)) minds->end_tokens[minds->end_token_count++] = token;
}

static bool load_tokenizer(minds *minds, const char *model)
{
    char path[PATH_LENGTH + 32];
    snprintf(path, sizeof path, "%s/tokenizer.model", model);
    retnet_result result = retnet_tokenizer_load(path, minds->message, sizeof minds->message, &minds->tokenizer);
    if (result != RETNET_OK) return fail(minds, path, result);
    const retnet_tokenizer *tokenizer = minds->tokenizer;
    minds->bos = minds->info.bos_token >= 0 ? minds->info.bos_token : retnet_tokenizer_bos(tokenizer);
    minds->system_marker = retnet_tokenizer_piece_id(tokenizer, "<|system|>");
    minds->user_marker = retnet_tokenizer_piece_id(tokenizer, "<|user|>");
    minds->bot_marker = retnet_tokenizer_piece_id(tokenizer, "<|bot|>");
    add_end_token(minds, minds->user_marker);
    add_end_token(minds, retnet_tokenizer_piece_id(tokenizer, "<|end|>"));
    add_end_token(minds, retnet_tokenizer_eos(tokenizer));
    add_end_token(minds, minds->info.eos_token);
    if (minds->user_marker == NO_TOKEN || minds->bot_marker == NO_TOKEN)
        return report("%s has no <|user|> and <|bot|>: its model cannot play a part", path);
    if (retnet_tokenizer_vocabulary_size(tokenizer) <= minds->info.vocabulary_size) return true;
    return report("%s has more pieces than the model", path);
}

static bool open_model(minds *minds)
{
    char path[PATH_LENGTH];
    if (minds->desc.model)
        snprintf(path, sizeof path, "%s", minds->desc.model);
    else
        find_model(path);
    retnet_context_desc context = {.log = on_log, .log_user = minds};
    retnet_result result = retnet_context_create_from_device(minds->desc.device, &context, &minds->context);
    if (result != RETNET_OK) return fail(minds, "the model cannot use this device", result);
    result = retnet_model_load(minds->context, &(retnet_model_desc){.path = path}, &minds->model);
    if (result != RETNET_OK) return fail(minds, path, result);
    retnet_model_get_info(minds->model, &minds->info);
    return load_tokenizer(minds, path);
}

static bool open_session(minds *minds)
{
    const uint32_t count = (uint32_t)minds->desc.count;
    const retnet_session_desc desc = session_desc(minds);
    retnet_result result = retnet_session_memory_for(minds->model, &desc, &minds->memory);
    if (result == RETNET_OK) result = retnet_session_create(minds->model, &desc, &minds->session);
    for (uint32_t i = 0; result == RETNET_OK && i < count; i++) {
        minds->minds[i] = (mind){.newest = NO_TOKEN, .unread = NO_TOKEN, .kept_unread = NO_TOKEN};
        result = retnet_text_stream_create(minds->tokenizer, &minds->minds[i].stream);
    }
    return check(minds, "there is no room for the villagers", result);
}

bool minds_create(const minds_desc *desc, minds **out)
{
    minds *minds = calloc(1, sizeof *minds);
    *out = NULL;
    if (!minds) return report("out of memory");
    minds->desc = *desc;
    minds->marked = -1;
    minds->minds = calloc(desc->count ? (size_t)desc->count : 1, sizeof *minds->minds);
    if (!minds->minds)
        report("out of memory");
    else if (open_model(minds) && open_session(minds))
        *out = minds;
    if (!*out) minds_destroy(minds);
    return *out != NULL;
}

void minds_destroy(minds *minds)
{
    if (!minds) return;
    for (int i = 0; minds->minds && i < minds->desc.count; i++) retnet_text_stream_destroy(minds->minds[i].stream);
    retnet_session_destroy(minds->session);
    retnet_tokenizer_destroy(minds->tokenizer);
    retnet_model_destroy(minds->model);
    retnet_context_destroy(minds->context);
    free(minds->minds);
    free(minds);
}
