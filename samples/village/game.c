/* game.c: see game.h. */
#include "game.h"

#include "report.h"
#include "save.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

static const double frame_seconds = 1.0 / 60, waiting_seconds = 1.0 / 20;

/* What players without a keyboard can say, and those who want to see what works. */
static const char *const suggestions[] = {
    "Hello! My name is Robin.",    "How are you?",     "What do you do?",
    "What do you sell?",           "Any news?",        "Do you need help?",
    "My favorite color is green.", "What is my name?", "What is my favorite color?",
    "Do you know a joke?",         "Tell me a story.", "Goodbye!",
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void sleep_until(double moment)
{
    const struct timespec time = {(time_t)moment, (long)((moment - floor(moment)) * 1e9)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR) {}
}

/* ---- Opening ---------------------------------------------------------------------------------------------------- */

static void on_piece(void *user, int mind, const char *text, size_t size)
{
    talk_piece(&((game *)user)->talk, mind, text, size);
}

static void on_done(void *user, int mind)
{
    talk_done(&((game *)user)->talk, mind);
}

static bool open_gpu(game *game)
{
    uint32_t count = 0;
    const char *const *extensions = NULL;
    VkSurfaceKHR surface = VK_NULL_HANDLE;
    if (!game->options.offscreen) {
        if (!window_open(game->options.width, game->options.height, &game->window)) return false;
        extensions = window_extensions(game->window, &count);
    }
    if (!gpu_create_instance(&game->gpu, extensions, count, game->options.validate)) return false;
    if (game->window && !window_create_surface(game->window, game->gpu.instance, &surface)) return false;
    game->screen.surface = surface; /* until screen_create, so that it is destroyed should that not be reached */
    game->screen.gpu = &game->gpu;
    if (!gpu_create_device(&game->gpu, surface, game->options.device)) return false;
    return !game->window || screen_create(&game->screen, &game->gpu, surface, window_extent(game->window));
}

static float ui_scale(VkExtent2D extent)
{
    const float scale = fminf((float)extent.width / 1150, (float)extent.height / 720);
    return fminf(fmaxf(scale, 0.75f), 4);
}

static bool open_renderer(game *game)
{
    if (!art_create(&game->art)) return false;
    renderer_desc desc = {.gpu = &game->gpu,
                          .screen = game->window ? &game->screen : NULL,
                          .extent = {game->options.width, game->options.height},
                          .art = game->art.pixels,
                          .art_width = ART_WIDTH,
                          .art_height = ART_HEIGHT,
                          .glyph_size = TEXT_TEXTURE_SIZE,
                          .load = game->options.load};
    if (!renderer_create(&desc, &game->renderer)) return false;
    art_release(&game->art);
    game->ui = ui_scale(renderer_extent(game->renderer));
    return text_create(game->options.font, game->ui, &game->text);
}

static void begin_view(const game *game, draw_list *list, view *view)
{
    const VkExtent2D extent = renderer_extent(game->renderer);
    list->white = game->art.white;
    text_prepare(game->text, list);
    *view = (struct view){.list = list,
                          .art = &game->art,
                          .text = game->text,
                          .width = (float)extent.width,
                          .height = (float)extent.height,
                          .ui = game->ui,
                          .seconds = game->seconds};
}

static bool end_view(game *game)
{
    uint32_t first, rows;
    const uint8_t *glyphs = text_take_changes(game->text, &first, &rows);
    renderer_update_glyphs(game->renderer, glyphs, first, rows);
    return renderer_end(game->renderer);
}

static bool fit(game *game, VkExtent2D extent)
{
    if (!renderer_resize(game->renderer, extent)) return false;
    extent = renderer_extent(game->renderer);
    const float ui = ui_scale(extent);
    if (ui == game->ui || extent.width == 0) return true;
    game->ui = ui;
    return text_set_scale(game->text, ui);
}

/* The window shows how far things are, and can be closed. */
static bool on_waiting(void *user, const char *what, uint64_t done, uint64_t total)
{
    game *game = user;
    draw_list *list;
    view view;
    input input = {0};
    if (!game->window || now() < game->frame_start + waiting_seconds) return true;
    game->frame_start = now();
    window_read(game->window, false, &input);
    game->closed = input.close;
    if (game->closed || (input.resized && !fit(game, window_extent(game->window)))) return false;
    if (!renderer_begin(game->renderer, &list)) return false;
    begin_view(game, list, &view);
    panel_draw_waiting(&view, what, done, total);
    return end_view(game);
}

static bool open_minds(game *game)
{
    minds_desc desc = {.device = &game->gpu.lent,
                       .model = game->options.model,
                       .count = game->world.count,
                       .temperature = (float)game->options.temperature,
                       .seed = game->options.seed,
                       .piece = on_piece,
                       .done = on_done,
                       .user = game};
    if (!minds_create(&desc, &game->minds)) return false;
    minds_describe(game->minds, game->panel.about, sizeof game->panel.about);
    for (int i = 0; i < game->world.count; i++)
        if (!minds_introduce(game->minds, i, game->world.villagers[i].persona)) return false;
    if (!minds_wake(game->minds, on_waiting)) return false;
    return talk_create(&game->talk, &(talk_desc){.world = &game->world,
                                                 .minds = game->minds,
                                                 .talkers = game->options.talkers,
                                                 .pause = (float)game->options.pause,
                                                 .transcript = game->transcript});
}

static bool open_file(const char *path, FILE **file)
{
    if (!path) return true;
    *file = fopen(path, "w");
    return *file || report("%s: %s", path, strerror(errno));
}

bool game_open(game *game, const options *options)
{
    game->options = *options;
    game->panel.open = options->panel;
    game->panel.budget_us = options->budget_us;
    if (options->script && !script_open(options->script, &game->script)) return false;
    if (!open_file(options->transcript, &game->transcript) || !open_file(options->frame_log, &game->frame_log))
        return false;
    if (!world_create(&game->world, options->villagers, options->seed)) return false;
    if (!open_gpu(game) || !open_renderer(game)) return false;
    if (!open_minds(game)) return game->closed;
    game->frame_start = now();
    return true;
}

void game_close(game *game)
{
    talk_destroy(&game->talk);
    minds_destroy(game->minds);
    text_destroy(game->text);
    renderer_destroy(game->renderer);
    art_release(&game->art);
    screen_destroy(&game->screen);
    gpu_destroy(&game->gpu);
    window_close(game->window);
    world_destroy(&game->world);
    script_close(game->script);
    if (game->transcript) fclose(game->transcript);
    if (game->frame_log) fclose(game->frame_log);
}

/* ---- What the player does --------------------------------------------------------------------------------------- */

bool game_resize(game *game, uint32_t width, uint32_t height)
{
    if (!game->window) return fit(game, (VkExtent2D){width, height});
    window_resize(game->window, width, height); /* what comes of it is told by an event */
    return true;
}

static bool answer_is_due(game *game)
{
    if (!game->talk.asked && !game->talk.answering) return false;
    panel_notify(&game->panel, "Wait until %s has answered", game->world.villagers[game->talk.partner].name);
    return true;
}

static bool save_village(game *game)
{
    if (answer_is_due(game)) return true;
    if (!talk_quiet(&game->talk)) return false;
    if (save_write(game->options.save, &game->world, game->minds))
        panel_notify(&game->panel, "Saved: %s", game->options.save);
    else
        panel_notify(&game->panel, "Not saved: %s", game->options.save);
    return true;
}

static bool load_village(game *game)
{
    bool undamaged = true;
    if (answer_is_due(game)) return true;
    if (!talk_quiet(&game->talk)) return false;
    talk_clear(&game->talk);
    if (save_read(game->options.save, &game->world, game->minds, &undamaged))
        panel_notify(&game->panel, "Loaded: %s", game->options.save);
    else
        panel_notify(&game->panel, "Not loaded: %s", game->options.save);
    return undamaged;
}

static bool rewind_talk(game *game)
{
    int villager;
    if (answer_is_due(game)) return true;
    if (!talk_rewind(&game->talk, &villager)) return false;
    if (villager < 0)
        panel_notify(&game->panel, "There is nothing to take back");
    else
        panel_notify(&game->panel, "%s never heard that", game->world.villagers[villager].name);
    return true;
}

static void suggest(game *game)
{
    if (!game->talk.typing) return;
    game->talk.line_size = 0;
    talk_type(&game->talk, suggestions[game->suggestion++ % (sizeof suggestions / sizeof suggestions[0])]);
}

static void change_budget(game *game, int steps)
{
    int budget = (int)game->panel.budget_us + 500 * steps;
    budget = budget < PANEL_LEAST_BUDGET ? PANEL_LEAST_BUDGET : budget > PANEL_MOST_BUDGET ? PANEL_MOST_BUDGET : budget;
    game->panel.budget_us = (uint32_t)budget;
}

static bool act(game *game, const input *input)
{
    bool good = true;
    if (input->resized) good = fit(game, window_extent(game->window));
    if (input->panel) game->panel.open = !game->panel.open;
    if (input->budget_steps) change_budget(game, input->budget_steps);
    panel_pointer(&game->panel, input->pointer_x, input->pointer_y, input->pointer_down);
    if (input->leave) talk_close(&game->talk);
    if (*input->text) talk_type(&game->talk, input->text);
    if (input->erase) talk_erase(&game->talk);
    if (input->suggest) suggest(game);
    if (good && input->talk) good = game->talk.typing ? talk_send(&game->talk) : talk_open(&game->talk);
    if (good && input->save) good = save_village(game);
    if (good && input->load) good = load_village(game);
    if (good && input->rewind) good = rewind_talk(game);
    game->closed |= input->close;
    return good;
}

/* ---- Frames ----------------------------------------------------------------------------------------------------- */

static bool draw(game *game)
{
    draw_list *list;
    view view;
    if (!renderer_begin(game->renderer, &list)) return false;
    begin_view(game, list, &view);
    view.zoom = fmaxf(1, floorf(fmaxf(view.height / 240, view.width / 400) + 0.4f));
    view.covered = panel_width(&game->panel, game->ui);
    view_look_at(&view, game->world.player.at);
    scene_draw(&view, &game->world);
    scene_draw_talk(&view, &game->world, &game->talk);
    panel_draw(&game->panel, &view, &game->world, &game->talk, &game->stats);
    return end_view(game);
}

/* The picture first, then the model's part: it works while the picture before this one is on the screen. Without a
 * window both are waited for, which measures them. */
static bool work(game *game, frame_times *times)
{
    minds_frame frame = {0};
    if (!draw(game) || !minds_step(game->minds, game->panel.budget_us, &frame)) return false;
    if (game->options.offscreen && !renderer_wait(game->renderer)) return false;
    times->picture_us = (now() - game->frame_start) * 1e6;
    if (game->options.offscreen && !minds_wait(game->minds, &frame)) return false;
    times->work_us = (now() - game->frame_start) * 1e6;
    times->model_us = (double)frame.device_us;
    times->tokens_read = frame.tokens_read;
    times->tokens_made = frame.tokens_made;
    return true;
}

static void log_frame(game *game, const frame_times *times)
{
    if (game->frame_log)
        fprintf(game->frame_log, "%llu %.0f %.0f %.0f %.0f %u %u\n", (unsigned long long)game->stats.frames,
                times->frame_us, times->picture_us, times->work_us, times->model_us, times->tokens_read,
                times->tokens_made);
}

/* Ends the frame: without a window 60 of them make a second, unless they need not. */
static void end_frame(game *game, frame_times *times)
{
    const double next = game->frame_start + frame_seconds, time = now();
    if (game->options.offscreen && !game->options.fast && time < next) sleep_until(next);
    const double end = game->options.offscreen && !game->options.fast && time < next ? next : now();
    times->frame_us = (end - game->frame_start) * 1e6;
    game->frame_start = end;
    stats_add(&game->stats, times);
    log_frame(game, times);
}

bool game_frame(game *game)
{
    const uint32_t last = (uint32_t)((game->stats.frames + STATS_RECENT - 1) % STATS_RECENT);
    const bool steady = game->options.offscreen || game->script;
    const double seconds = steady ? frame_seconds : fmin(0.1, game->stats.recent[last].frame_us * 1e-6);
    frame_times times = {0};
    input input = {0};
    if (game->window) window_read(game->window, game->talk.typing, &input);
    if (game->script && !script_step(game->script, game, &input)) return false;
    if (!act(game, &input)) return false;
    game->seconds += seconds;
    game->panel.notice_seconds -= (float)seconds;
    world_step(&game->world, (float)seconds, input.dx, input.dy);
    if (!talk_step(&game->talk, (float)seconds)) return false;
    if (!work(game, &times)) return false;
    if (game->screenshot && !renderer_save(game->renderer, game->screenshot)) return false;
    game->screenshot = NULL;
    end_frame(game, &times);
    return true;
}
