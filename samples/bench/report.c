/* report.c: see report.h. */
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <time.h>

static json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    return value ? value : json_string("(not UTF-8)");
}

static bool write_json(const bench_report *report)
{
    if (!report->json_path) return true;
    const size_t flags = JSON_INDENT(1) | JSON_REAL_PRECISION(9);
    if (strcmp(report->json_path, "-") == 0) {
        bool written = json_dumpf(report->root, stdout, flags) == 0;
        putchar('\n');
        return written && fflush(stdout) == 0;
    }
    if (json_dump_file(report->root, report->json_path, flags) == 0) return true;
    fprintf(stderr, "bench: %s: cannot be written: %s\n", report->json_path, strerror(errno));
    return false;
}

/* After each case, so that a run that is stopped leaves what it had measured. */
static void save_json(const bench_report *report)
{
    if (report->json_path && strcmp(report->json_path, "-") != 0) write_json(report);
}

static void print_version(char *text, size_t size, uint32_t version)
{
    snprintf(text, size, "%u.%u.%u", version >> 22 & 0x7f, version >> 12 & 0x3ff, version & 0xfff);
}

bool bench_report_begin(bench_report *report, const char *json_path, const retnet_device_info *device,
                        const bench_bandwidth *bandwidth)
{
    char date[32], vulkan[32], version[32];
    time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    print_version(vulkan, sizeof vulkan, device->vulkan);
    snprintf(version, sizeof version, "%d.%d.%d", RETNET_VERSION_MAJOR, RETNET_VERSION_MINOR, RETNET_VERSION_PATCH);

    bool json_on_stdout = json_path && strcmp(json_path, "-") == 0;
    *report =
        (bench_report){.table = json_on_stdout ? stderr : stdout, .bandwidth = *bandwidth, .json_path = json_path};
    fprintf(report->table,
            "device  %s\ndriver  %s, Vulkan %s, subgroups of %u\nmemory  read at %.1f GB/s, copied at %.1f GB/s\n",
            device->name, device->driver, vulkan, device->subgroup_size, 1e-9 * bandwidth->read,
            1e-9 * bandwidth->copy);
    fflush(report->table);
    report->root =
        json_pack("{ss ss s{so so ss si sb sb sI sf sf} s[]}", "version", version, "date", date, "device", "name",
                  json_text(device->name), "driver", json_text(device->driver), "vulkan", vulkan, "subgroup_size",
                  (int)device->subgroup_size, "cpu", device->is_cpu, "unified_memory", device->unified_memory,
                  "memory_bytes", (json_int_t)device->memory_bytes, "read_bytes_per_second", bandwidth->read,
                  "copy_bytes_per_second", bandwidth->copy, "models");
    if (report->root && (json_on_stdout || write_json(report))) return true;
    if (!report->root) fprintf(stderr, "bench: out of memory\n");
    json_decref(report->root);
    return false;
}

void bench_report_model(bench_report *report, const char *source, const retnet_model_info *info, double load_seconds)
{
    const char *format = retnet_weight_format_name(info->format);
    fprintf(report->table,
            "\nmodel   %s, %s, %.1f M parameters: weights %.1f MB, state %.1f MB a slot\n"
            "        %u layers, hidden %u, %u heads of K %u and V %u, feed-forward %u, vocabulary %u\n\n"
            "%-44s %12s %10s %10s %12s %12s %10s\n",
            source, format ? format : "mixed", 1e-6 * (double)info->parameters, 1e-6 * (double)info->weight_bytes,
            1e-6 * (double)info->state_bytes, info->layers, info->hidden_size, info->heads, info->key_size,
            info->value_size, info->intermediate_size, info->vocabulary_size, "case", "tokens/s", "ms/token", "p99",
            "gap p99", "tok/submit", "bandwidth");
    fflush(report->table);
    json_t *model =
        json_pack("{so ss ss si si si si si si si si sI sI sI sf s[]}", "source", json_text(source), "architecture",
                  info->architecture, "format", format ? format : "mixed", "hidden_size", (int)info->hidden_size,
                  "layers", (int)info->layers, "heads", (int)info->heads, "key_value_heads", (int)info->key_value_heads,
                  "key_size", (int)info->key_size, "value_size", (int)info->value_size, "intermediate_size",
                  (int)info->intermediate_size, "vocabulary_size", (int)info->vocabulary_size, "parameters",
                  (json_int_t)info->parameters, "weight_bytes", (json_int_t)info->weight_bytes, "state_bytes",
                  (json_int_t)info->state_bytes, "load_seconds", load_seconds, "results");
    report->results = json_object_get(model, "results");
    json_array_append_new(json_object_get(report->root, "models"), model);
    save_json(report);
}

/* ---- One case --------------------------------------------------------------------------------------------------- */

static void print_profile(FILE *table, const measurement *m)
{
    double total = 0, steps = m->is_prompt ? 1 : m->profile_tokens;
    for (size_t i = 0; i < m->profile_count; i++) total += (double)m->profile[i].nanoseconds;
    fprintf(table, "  %-28s %10s %12s %8s %12s %10s\n", m->is_prompt ? "kernel, per prompt" : "kernel, per step",
            "dispatches", "us", "share", "MB", "GB/s");
    for (size_t i = 0; i < m->profile_count; i++) {
        const retnet_profile_entry *e = &m->profile[i];
        double nanoseconds = (double)e->nanoseconds, bytes = (double)e->bytes;
        fprintf(table, "  %-28s %10.0f %12.1f %7.1f%%", e->name, (double)e->dispatches / steps,
                1e-3 * nanoseconds / steps, total > 0 ? 100 * nanoseconds / total : 0);
        if (e->bytes && e->nanoseconds)
            fprintf(table, " %12.3f %10.2f\n", 1e-6 * bytes / steps, bytes / nanoseconds);
        else
            fprintf(table, " %12s %10s\n", "-", "-");
    }
    fprintf(table, "  %-28s %10s %12.1f\n\n", "all", "", 1e-3 * total / steps);
}

/* What decoding uses of the bandwidth at which the device reads, or 0 where that is unknown. */
static double bandwidth_share(const bench_report *report, const measurement *m)
{
    double bytes_per_second = m->step_bytes * m->tokens_per_second / m->batch;
    return report->bandwidth.read > 0 ? bytes_per_second / report->bandwidth.read : 0;
}

static void print_case(const bench_report *report, const measurement *m)
{
    FILE *table = report->table;
    char name[64], gap[32] = "", submit[32] = "", share[32] = "";
    if (m->is_prompt)
        snprintf(name, sizeof name, "prompt %u", m->tokens);
    else
        snprintf(name, sizeof name, "decode %u, batch %u, position %" PRIu64, m->tokens, m->batch, m->position);
    if (!m->is_prompt) snprintf(gap, sizeof gap, "%.3f ms", m->gap_ms_p99);
    if (!m->is_prompt) snprintf(submit, sizeof submit, "%.1f", m->tokens_per_submit);
    if (!m->is_prompt) snprintf(share, sizeof share, "%.1f %%", 100 * bandwidth_share(report, m));
    fprintf(table, "%-44s %12.2f %10.3f %10.3f %12s %12s %10s\n", name, m->tokens_per_second, m->token_ms_median,
            m->token_ms_p99, gap, submit, share);
    if (m->profile) print_profile(table, m);
    fflush(table);
}

static json_t *profile_json(const measurement *m)
{
    json_t *entries = json_array();
    for (size_t i = 0; i < m->profile_count; i++) {
        const retnet_profile_entry *e = &m->profile[i];
        json_array_append_new(entries, json_pack("{so sI sI sI}", "kernel", json_text(e->name), "dispatches",
                                                 (json_int_t)e->dispatches, "nanoseconds", (json_int_t)e->nanoseconds,
                                                 "bytes", (json_int_t)e->bytes));
    }
    return entries;
}

void bench_report_case(bench_report *report, const measurement *m)
{
    print_case(report, m);
    json_t *runs = json_array();
    for (size_t i = 0; i < m->run_count; i++) json_array_append_new(runs, json_real(m->runs[i]));
    json_t *result =
        json_pack("{ss si si sI s{sI sI sI} sf s{sf sf} so}", "what", m->is_prompt ? "prompt" : "decode", "batch",
                  (int)m->batch, "tokens", (int)m->tokens, "position", (json_int_t)m->position, "memory",
                  "device_bytes", (json_int_t)m->memory.device_bytes, "state_bytes", (json_int_t)m->memory.state_bytes,
                  "host_bytes", (json_int_t)m->memory.host_bytes, "tokens_per_second", m->tokens_per_second, "token_ms",
                  "median", m->token_ms_median, "p99", m->token_ms_p99, "run_seconds", runs);
    if (!m->is_prompt) json_object_set_new(result, "gap_ms_p99", json_real(m->gap_ms_p99));
    if (!m->is_prompt) json_object_set_new(result, "tokens_per_submit", json_real(m->tokens_per_submit));
    if (!m->is_prompt) {
        json_object_set_new(result, "step_bytes", json_real(m->step_bytes));
        json_object_set_new(result, "bandwidth_share", json_real(bandwidth_share(report, m)));
    }
    if (m->profile) {
        json_object_set_new(result, "profile", profile_json(m));
        json_object_set_new(result, "profile_tokens", json_integer((json_int_t)m->profile_tokens));
    }
    json_array_append_new(report->results, result);
    save_json(report);
}

void bench_report_error(bench_report *report, const char *what, retnet_result result, const char *message)
{
    if (!json_object_get(report->root, "errors")) json_object_set_new(report->root, "errors", json_array());
    json_array_append_new(json_object_get(report->root, "errors"),
                          json_pack("{so ss so}", "what", json_text(what), "result", retnet_result_name(result),
                                    "message", json_text(message)));
    save_json(report);
}

bool bench_report_end(bench_report *report)
{
    bool written = write_json(report);
    json_decref(report->root);
    return written;
}
