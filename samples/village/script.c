/* script.c: see script.h. */
#include "script.h"

#include "game.h"
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LINE = 512, ARGUMENT = 256 };

typedef enum verb {
    VERB_VISIT,
    VERB_SAY,
    VERB_TYPE,
    VERB_LEAVE,
    VERB_WALK,
    VERB_WAIT,
    VERB_TIME,
    VERB_KEY,
    VERB_PAD,
    VERB_SLIDER,
    VERB_BUDGET,
    VERB_SCREENSHOT,
    VERB_RESIZE,
    VERB_CLOSE,
    VERBS
} verb;

static const struct {
    const char *name;
    int numbers; /* it takes; -1: a text, -2: nothing */
} verbs[VERBS] = {
    [VERB_VISIT] = {"visit", -1},  [VERB_SAY] = {"say", -1},      [VERB_TYPE] = {"type", -1},
    [VERB_LEAVE] = {"leave", -2},  [VERB_WALK] = {"walk", 3},     [VERB_WAIT] = {"wait", 1},
    [VERB_TIME] = {"time", 2},     [VERB_KEY] = {"key", -1},      [VERB_BUDGET] = {"budget", 1},
    [VERB_RESIZE] = {"resize", 2}, [VERB_CLOSE] = {"close", -2},  [VERB_SCREENSHOT] = {"screenshot", -1},
    [VERB_PAD] = {"pad", -1},      [VERB_SLIDER] = {"slider", 1},
};

typedef struct command {
    verb verb;
    int line;
    double numbers[3];
    char text[ARGUMENT];
} command;

struct script {
    const char *path;
    command *commands;
    int count, at;
    int64_t frames; /* that the current command has had */
};

/* ---- Reading ---------------------------------------------------------------------------------------------------- */

static bool read_numbers(const char *text, command *command)
{
    const char *format = command->verb == VERB_TIME ? "%lf:%lf%lf" : "%lf %lf %lf";
    double *n = command->numbers;
    return sscanf(text, format, &n[0], &n[1], &n[2]) == verbs[command->verb].numbers;
}

static bool read_command(script *script, char *line, int number)
{
    line[strcspn(line, "\r\n")] = 0;
    line += strspn(line, " \t");
    if (!*line || *line == '#') return true;
    struct command *grown = realloc(script->commands, (size_t)(script->count + 1) * sizeof *grown);
    if (!grown) return report("out of memory");
    script->commands = grown;
    command *command = &grown[script->count];
    *command = (struct command){.verb = VERBS, .line = number};
    const size_t length = strcspn(line, " \t");
    const char *rest = line + length + strspn(line + length, " \t");
    for (int i = 0; i < VERBS; i++)
        if (strlen(verbs[i].name) == length && strncmp(verbs[i].name, line, length) == 0) command->verb = (verb)i;
    if (command->verb == VERBS) return report("%s:%d: no command \"%.*s\"", script->path, number, (int)length, line);
    snprintf(command->text, sizeof command->text, "%s", rest);
    const int numbers = verbs[command->verb].numbers;
    if (numbers == -1 ? !*rest : numbers == -2 ? *rest != 0 : !read_numbers(rest, command))
        return report("%s:%d: \"%s\" does not take \"%s\"", script->path, number, verbs[command->verb].name, rest);
    script->count++;
    return true;
}

bool script_open(const char *path, script **out)
{
    char line[MAX_LINE];
    bool good = true;
    *out = NULL;
    FILE *file = fopen(path, "r");
    if (!file) return report("%s: %s", path, strerror(errno));
    script *script = calloc(1, sizeof *script);
    if (!script) good = report("out of memory");
    if (good) script->path = path;
    for (int number = 1; good && fgets(line, sizeof line, file); number++) good = read_command(script, line, number);
    fclose(file);
    if (good)
        *out = script;
    else
        script_close(script);
    return good;
}

void script_close(script *script)
{
    if (!script) return;
    free(script->commands);
    free(script);
}

bool script_ended(const script *script)
{
    return script->at == script->count;
}

/* ---- Playing ---------------------------------------------------------------------------------------------------- */

static bool press(const char *key, input *input)
{
    const struct {
        const char *name;
        bool *pressed;
    } keys[] = {{"F1", &input->panel}, {"F5", &input->save},    {"F6", &input->rewind},
                {"F9", &input->load},  {"Enter", &input->talk}, {"Tab", &input->suggest}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(keys[i].name, key) == 0) {
            *keys[i].pressed = true;
            return true;
        }
    return false;
}

/* Opens the conversation, types, sends, and waits; a frame for each. */
static bool speak(const struct command *command, const talk *talk, int64_t frame, input *input, bool *done)
{
    if (frame == 0 && !talk->typing) input->talk = true;
    if (frame == 1 && talk->partner < 0) return false;
    if (frame == 1) snprintf(input->text, sizeof input->text, "%s", command->text);
    if (frame == 2 && command->verb == VERB_SAY) input->talk = true;
    *done = frame > 2 && (command->verb == VERB_TYPE || (!talk->asked && !talk->answering));
    return true;
}

/* A frame with the button down, and one with it up again. */
static bool press_pad(const char *button, window *window, int64_t frame, bool *done)
{
    *done = frame == 1;
    return window && window_press_pad(window, button, frame == 0);
}

/* The pointer takes the slider's knob to a share of its way, and lets it go. */
static bool slide(double share, const panel *panel, int64_t frame, input *input, bool *done)
{
    const float way = panel->slider_w - panel->slider_h;
    input->pointer_x = panel->slider_x + panel->slider_h / 2 + (float)share * way;
    input->pointer_y = panel->slider_y + panel->slider_h / 2;
    input->pointer_down = frame == 0;
    *done = frame == 1;
    return panel->open && way > 0;
}

static bool play(const command *command, game *game, int64_t frame, input *input, bool *done)
{
    const double *n = command->numbers;
    int villager;
    *done = true;
    switch (command->verb) {
    case VERB_VISIT:
        villager = world_find(&game->world, command->text);
        if (villager < 0) return false;
        talk_close(&game->talk);
        world_visit(&game->world, villager);
        return true;
    case VERB_SAY:
    case VERB_TYPE: return speak(command, &game->talk, frame, input, done);
    case VERB_LEAVE: input->leave = true; return true;
    case VERB_WALK:
        input->dx = (float)n[0];
        input->dy = (float)n[1];
        *done = frame + 1 >= (int64_t)n[2];
        return true;
    case VERB_WAIT: *done = frame + 1 >= (int64_t)n[0]; return true;
    case VERB_TIME: game->world.minutes = n[0] * 60 + n[1]; return game->world.minutes < WORLD_MINUTES;
    case VERB_KEY: return press(command->text, input);
    case VERB_PAD: return press_pad(command->text, game->window, frame, done);
    case VERB_SLIDER: return slide(n[0], &game->panel, frame, input, done);
    case VERB_BUDGET: game->panel.budget_us = (uint32_t)n[0]; return true;
    case VERB_SCREENSHOT: game->screenshot = command->text; return true;
    case VERB_RESIZE: return game_resize(game, (uint32_t)n[0], (uint32_t)n[1]);
    case VERB_CLOSE: input->close = true; return true;
    case VERBS: break;
    }
    return false;
}

bool script_step(script *script, game *game, input *input)
{
    bool done = true;
    if (script_ended(script)) return true;
    const command *command = &script->commands[script->at];
    if (!play(command, game, script->frames++, input, &done))
        return report("%s:%d: %s %s: cannot be done", script->path, command->line, verbs[command->verb].name,
                      command->text);
    if (done) {
        script->at++;
        script->frames = 0;
    }
    return true;
}
