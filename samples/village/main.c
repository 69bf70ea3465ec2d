/* main.c: village, a game whose people are a retentive network. */
#include "game.h"
#include "report.h"

#include <SDL.h>
#include <errno.h>
#include <string.h>

static void print_times(FILE *file, const char *name, const histogram *h)
{
    fprintf(file, "  \"%s_us\": {\"mean\": %.1f, \"p50\": %.0f, \"p90\": %.0f, \"p99\": %.0f, \"max\": %.0f},\n", name,
            h->count ? h->sum / (double)h->count : 0, histogram_percentile(h, 0.5), histogram_percentile(h, 0.9),
            histogram_percentile(h, 0.99), h->largest);
}

static bool write_stats(const game *game)
{
    const stats *s = &game->stats;
    const minds_memory memory = minds_get_memory(game->minds);
    FILE *file = strcmp(game->options.stats, "-") == 0 ? stdout : fopen(game->options.stats, "w");
    if (!file) return report("%s: %s", game->options.stats, strerror(errno));
    fprintf(file, "{\n  \"device\": \"%s\",\n  \"villagers\": %d,\n  \"talkers\": %d,\n  \"budget_us\": %u,\n",
            game->gpu.properties.deviceName, game->world.count,
            game->options.talkers < game->world.count ? game->options.talkers : game->world.count,
            (unsigned)game->panel.budget_us);
    fprintf(file, "  \"frames\": %llu,\n  \"seconds\": %.3f,\n", (unsigned long long)s->frames, s->seconds);
    print_times(file, "frame", &s->frame);
    print_times(file, "picture", &s->picture);
    print_times(file, "work", &s->work);
    print_times(file, "model", &s->model);
    fprintf(file, "  \"tokens_read\": %llu,\n  \"tokens_made\": %llu,\n  \"tokens_made_per_second\": %.1f,\n",
            (unsigned long long)s->tokens_read, (unsigned long long)s->tokens_made,
            s->seconds > 0 ? (double)s->tokens_made / s->seconds : 0);
    fprintf(file,
            "  \"weight_bytes\": %llu,\n  \"state_bytes\": %llu,\n  \"states\": %llu,\n  \"session_bytes\": %llu,\n",
            (unsigned long long)memory.weight_bytes, (unsigned long long)memory.state_bytes,
            (unsigned long long)memory.states, (unsigned long long)memory.session_bytes);
    fprintf(file, "  \"resident_bytes\": {\"early\": %llu, \"late\": %llu},\n", (unsigned long long)s->first_resident,
            (unsigned long long)s->resident);
    fprintf(file, "  \"device_bytes\": {\"early\": %llu, \"late\": %llu}\n}\n", (unsigned long long)s->first_device,
            (unsigned long long)s->device);
    return (file == stdout ? fflush(file) : fclose(file)) == 0 || report("%s cannot be written", game->options.stats);
}

/* Memory half-way, when everything has been used once, and at the end. */
static void note_memory(game *game)
{
    stats *s = &game->stats;
    s->resident = stats_resident();
    s->device = gpu_memory_used(&game->gpu);
    if (s->first_resident) return;
    s->first_resident = s->resident;
    s->first_device = s->device;
}

static bool play(game *game)
{
    const uint64_t early = game->options.frames ? game->options.frames / 2 : 60;
    if (game->closed) return true;
    for (;;) {
        if (!game_frame(game)) return false;
        const bool enough = game->options.frames && game->stats.frames >= game->options.frames;
        if (game->stats.frames == early) note_memory(game);
        if (enough || game->closed) break;
        if (game->script && script_ended(game->script) && !game->options.frames) break;
    }
    note_memory(game);
    if (game->script && !script_ended(game->script)) return report("the script did not come to its end");
    if (game->options.screenshot && !renderer_save(game->renderer, game->options.screenshot)) return false;
    return !game->options.stats || write_stats(game);
}

int main(int count, char **arguments)
{
    static game game;
    options options;
    options_result parsed = options_parse(&options, count, arguments);
    if (parsed != OPTIONS_RUN) return parsed == OPTIONS_DONE ? 0 : 2;
    bool good = game_open(&game, &options) && play(&game);
    game_close(&game);
    return good && game.gpu.messages == 0 ? 0 : 1;
}
