/* window.c: see window.h. */
#include "window.h"

#include "report.h"

#include <SDL.h>
#include <SDL_vulkan.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_EXTENSIONS = 12, STICK_DEAD = 8000 };

struct window {
    SDL_Window *handle;
    SDL_GameController *pad;
    const char *extensions[MAX_EXTENSIONS];
    unsigned extension_count;
    bool typing, pointer_down;
    float pointer_x, pointer_y;
};

bool window_open(uint32_t width, uint32_t height, window **out)
{
    const Uint32 flags = SDL_WINDOW_VULKAN | SDL_WINDOW_RESIZABLE | SDL_WINDOW_ALLOW_HIGHDPI;
    *out = NULL;
    SDL_SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1"); /* Ctrl-C ends the program as it does others */
    if (SDL_Init(SDL_INIT_VIDEO | SDL_INIT_GAMECONTROLLER) != 0)
        return report("no window can be opened here: %s. --offscreen plays a script without one", SDL_GetError());
    window *window = calloc(1, sizeof *window);
    if (!window) {
        SDL_Quit();
        return report("out of memory");
    }
    window->handle =
        SDL_CreateWindow("Willowbrook", SDL_WINDOWPOS_CENTERED, SDL_WINDOWPOS_CENTERED, (int)width, (int)height, flags);
    window->extension_count = MAX_EXTENSIONS;
    if (window->handle &&
        SDL_Vulkan_GetInstanceExtensions(window->handle, &window->extension_count, window->extensions)) {
        SDL_StopTextInput();
        *out = window;
        return true;
    }
    report("no window for Vulkan can be opened here: %s. --offscreen plays a script without one", SDL_GetError());
    window_close(window);
    return false;
}

void window_close(window *window)
{
    if (!window) return;
    if (window->pad) SDL_GameControllerClose(window->pad);
    if (window->handle) SDL_DestroyWindow(window->handle);
    SDL_Quit();
    free(window);
}

const char *const *window_extensions(const window *window, uint32_t *count)
{
    *count = window->extension_count;
    return window->extensions;
}

bool window_create_surface(window *window, VkInstance instance, VkSurfaceKHR *surface)
{
    return SDL_Vulkan_CreateSurface(window->handle, instance, surface) ||
           report("the window cannot be drawn to: %s", SDL_GetError());
}

VkExtent2D window_extent(const window *window)
{
    int width = 0, height = 0;
    SDL_Vulkan_GetDrawableSize(window->handle, &width, &height);
    return (VkExtent2D){(uint32_t)width, (uint32_t)height};
}

void window_resize(window *window, uint32_t width, uint32_t height)
{
    SDL_SetWindowSize(window->handle, (int)width, (int)height);
}

/* ---- Events ----------------------------------------------------------------------------------------------------- */

static void read_key(const SDL_KeyboardEvent *event, input *input)
{
    switch (event->keysym.sym) {
    case SDLK_RETURN:
    case SDLK_KP_ENTER: input->talk |= !event->repeat; break;
    case SDLK_ESCAPE: input->leave = true; break;
    case SDLK_BACKSPACE: input->erase = true; break;
    case SDLK_TAB: input->suggest = true; break;
    case SDLK_F1: input->panel |= !event->repeat; break;
    case SDLK_F5: input->save |= !event->repeat; break;
    case SDLK_F6: input->rewind |= !event->repeat; break;
    case SDLK_F9: input->load |= !event->repeat; break;
    default: break;
    }
}

static void read_button(Uint8 button, input *input)
{
    switch (button) {
    case SDL_CONTROLLER_BUTTON_A: input->talk = true; break;
    case SDL_CONTROLLER_BUTTON_B: input->leave = true; break;
    case SDL_CONTROLLER_BUTTON_X: input->suggest = true; break;
    case SDL_CONTROLLER_BUTTON_Y: input->panel = true; break;
    case SDL_CONTROLLER_BUTTON_BACK: input->rewind = true; break;
    case SDL_CONTROLLER_BUTTON_LEFTSHOULDER: input->budget_steps--; break;
    case SDL_CONTROLLER_BUTTON_RIGHTSHOULDER: input->budget_steps++; break;
    default: break;
    }
}

static void move_pointer(window *window, int x, int y)
{
    int width = 1, height = 1;
    const VkExtent2D extent = window_extent(window);
    SDL_GetWindowSize(window->handle, &width, &height);
    window->pointer_x = (float)x * (float)extent.width / (float)(width > 0 ? width : 1);
    window->pointer_y = (float)y * (float)extent.height / (float)(height > 0 ? height : 1);
}

static void read_event(window *window, const SDL_Event *event, input *input)
{
    switch (event->type) {
    case SDL_QUIT: input->close = true; break;
    case SDL_KEYDOWN: read_key(&event->key, input); break;
    case SDL_TEXTINPUT:
        if (strlen(input->text) + strlen(event->text.text) < sizeof input->text) strcat(input->text, event->text.text);
        break;
    case SDL_WINDOWEVENT: input->resized |= event->window.event == SDL_WINDOWEVENT_SIZE_CHANGED; break;
    case SDL_MOUSEMOTION: move_pointer(window, event->motion.x, event->motion.y); break;
    case SDL_MOUSEBUTTONDOWN:
    case SDL_MOUSEBUTTONUP:
        if (event->button.button != SDL_BUTTON_LEFT) break;
        move_pointer(window, event->button.x, event->button.y);
        window->pointer_down = event->type == SDL_MOUSEBUTTONDOWN;
        break;
    case SDL_CONTROLLERDEVICEADDED:
        if (!window->pad) window->pad = SDL_GameControllerOpen(event->cdevice.which);
        break;
    case SDL_CONTROLLERDEVICEREMOVED:
        if (window->pad && event->cdevice.which == SDL_JoystickInstanceID(SDL_GameControllerGetJoystick(window->pad))) {
            SDL_GameControllerClose(window->pad);
            window->pad = NULL;
        }
        break;
    case SDL_CONTROLLERBUTTONDOWN: read_button(event->cbutton.button, input); break;
    default: break;
    }
}

static void read_directions(const window *window, bool typing, input *input)
{
    const Uint8 *keys = SDL_GetKeyboardState(NULL);
    if (!typing) {
        input->dx = (float)((keys[SDL_SCANCODE_RIGHT] | keys[SDL_SCANCODE_D]) -
                            (keys[SDL_SCANCODE_LEFT] | keys[SDL_SCANCODE_A]));
        input->dy =
            (float)((keys[SDL_SCANCODE_DOWN] | keys[SDL_SCANCODE_S]) - (keys[SDL_SCANCODE_UP] | keys[SDL_SCANCODE_W]));
    }
    if (!window->pad) return;
    const int x = SDL_GameControllerGetAxis(window->pad, SDL_CONTROLLER_AXIS_LEFTX);
    const int y = SDL_GameControllerGetAxis(window->pad, SDL_CONTROLLER_AXIS_LEFTY);
    if (abs(x) > STICK_DEAD) input->dx += (float)x / 32768;
    if (abs(y) > STICK_DEAD) input->dy += (float)y / 32768;
    input->dx += (float)(SDL_GameControllerGetButton(window->pad, SDL_CONTROLLER_BUTTON_DPAD_RIGHT) -
                         SDL_GameControllerGetButton(window->pad, SDL_CONTROLLER_BUTTON_DPAD_LEFT));
    input->dy += (float)(SDL_GameControllerGetButton(window->pad, SDL_CONTROLLER_BUTTON_DPAD_DOWN) -
                         SDL_GameControllerGetButton(window->pad, SDL_CONTROLLER_BUTTON_DPAD_UP));
}

void window_read(window *window, bool typing, input *input)
{
    SDL_Event event;
    if (typing != window->typing) {
        window->typing = typing;
        if (typing)
            SDL_StartTextInput();
        else
            SDL_StopTextInput();
    }
    while (SDL_PollEvent(&event)) read_event(window, &event, input);
    read_directions(window, typing, input);
    input->pointer_down = window->pointer_down;
    input->pointer_x = window->pointer_x;
    input->pointer_y = window->pointer_y;
}

bool window_press_pad(window *window, const char *name, bool down)
{
    const SDL_GameControllerButton button = SDL_GameControllerGetButtonFromString(name);
    if (button == SDL_CONTROLLER_BUTTON_INVALID) return report("no gamepad has a button \"%s\"", name);
    if (!window->pad) {
        int index = SDL_JoystickAttachVirtual(SDL_JOYSTICK_TYPE_GAMECONTROLLER, SDL_CONTROLLER_AXIS_MAX,
                                              SDL_CONTROLLER_BUTTON_MAX, 0);
        window->pad = index < 0 ? NULL : SDL_GameControllerOpen(index);
        if (!window->pad) return report("no gamepad can be imagined: %s", SDL_GetError());
    }
    return SDL_JoystickSetVirtualButton(SDL_GameControllerGetJoystick(window->pad), button, down) == 0 ||
           report("%s", SDL_GetError());
}
