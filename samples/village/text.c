/* text.c: see text.h. */
#include "text.h"

#include "report.h"

#include <SDL.h>
#include <SDL_ttf.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_GLYPHS = 1024, GAP = 1, DISC = 64, GLOW = 128, REPLACEMENT = 0xfffd };

static const float heights[TEXT_SIZES] = {[TEXT_SMALL] = 12.5f, [TEXT_BODY] = 15.5f, [TEXT_TITLE] = 22};

static const char *const fonts[] = {
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", /* Debian: fonts-dejavu-core */
    "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf",
    "/System/Library/Fonts/Supplemental/Arial.ttf",
};

typedef struct glyph {
    uint32_t character;
    text_size size;
    float left, advance;
    region source;
} glyph;

struct text {
    const char *path;
    TTF_Font *fonts[TEXT_SIZES];
    uint8_t pixels[TEXT_TEXTURE_SIZE * TEXT_TEXTURE_SIZE];
    uint32_t x, y, row_height; /* where the next glyph goes */
    uint32_t changed_first, changed_end;
    region disc, glow;
    glyph glyphs[MAX_GLYPHS]; /* a hash table */
    uint32_t glyph_count;
    glyph blank; /* instead of glyphs that there is no room for until the next picture */
    bool full;
};

/* ---- The texture ------------------------------------------------------------------------------------------------ */

static void mark_changed(text *text, uint32_t first, uint32_t rows)
{
    if (first < text->changed_first) text->changed_first = first;
    if (first + rows > text->changed_end) text->changed_end = first + rows;
}

/* Room for w times h pixels, in rows; false if the texture is full. */
static bool place(text *text, uint32_t w, uint32_t h, region *out)
{
    if (text->x + w + GAP > TEXT_TEXTURE_SIZE) {
        text->x = GAP;
        text->y += text->row_height + GAP;
        text->row_height = 0;
    }
    if (text->x + w + GAP > TEXT_TEXTURE_SIZE || text->y + h + GAP > TEXT_TEXTURE_SIZE) {
        text->full = true;
        return false;
    }
    *out = (region){(uint16_t)text->x, (uint16_t)text->y, (uint16_t)w, (uint16_t)h};
    text->x += w + GAP;
    if (h > text->row_height) text->row_height = h;
    mark_changed(text, out->y, h);
    return true;
}

static void set_pixel(text *text, uint32_t x, uint32_t y, float value)
{
    text->pixels[y * TEXT_TEXTURE_SIZE + x] = (uint8_t)(value <= 0 ? 0 : value >= 1 ? 255 : value * 255 + 0.5f);
}

static void paint_round(text *text, region r, bool fading)
{
    const float radius = (float)r.w / 2;
    for (uint32_t y = 0; y < r.h; y++)
        for (uint32_t x = 0; x < r.w; x++) {
            const float away = hypotf((float)x + 0.5f - radius, (float)y + 0.5f - radius);
            const float rest = 1 - away / radius;
            set_pixel(text, r.x + x, r.y + y, fading ? rest * fabsf(rest) : radius - away + 0.5f);
        }
}

static void empty(text *text)
{
    memset(text->pixels, 0, sizeof text->pixels);
    memset(text->glyphs, 0, sizeof text->glyphs);
    text->glyph_count = 0;
    text->full = false;
    text->x = text->y = GAP;
    text->row_height = 0;
    place(text, DISC, DISC, &text->disc);
    place(text, GLOW, GLOW, &text->glow);
    paint_round(text, text->disc, false);
    paint_round(text, text->glow, true);
    text->changed_first = 0;
    text->changed_end = TEXT_TEXTURE_SIZE;
}

const uint8_t *text_take_changes(text *text, uint32_t *first_row, uint32_t *rows)
{
    *first_row = text->changed_first;
    *rows = text->changed_end > text->changed_first ? text->changed_end - text->changed_first : 0;
    text->changed_first = TEXT_TEXTURE_SIZE;
    text->changed_end = 0;
    return text->pixels;
}

/* ---- Glyphs ----------------------------------------------------------------------------------------------------- */

static void copy_surface(text *text, region to, const SDL_Surface *surface)
{
    for (int y = 0; y < to.h; y++) {
        const uint8_t *row = (const uint8_t *)surface->pixels + (ptrdiff_t)y * surface->pitch;
        for (int x = 0; x < to.w; x++) {
            uint32_t argb;
            memcpy(&argb, row + 4 * (ptrdiff_t)x, sizeof argb);
            text->pixels[(to.y + y) * TEXT_TEXTURE_SIZE + to.x + x] = (uint8_t)(argb >> 24);
        }
    }
}

static void make_glyph(text *text, glyph *glyph)
{
    TTF_Font *font = text->fonts[glyph->size];
    int left = 0, right, low, high, advance = 0;
    uint32_t character = TTF_GlyphIsProvided32(font, glyph->character) ? glyph->character : REPLACEMENT;
    TTF_GlyphMetrics32(font, character, &left, &right, &low, &high, &advance);
    glyph->left = (float)(left < 0 ? left : 0);
    glyph->advance = (float)advance;
    SDL_Surface *surface = TTF_RenderGlyph32_Blended(font, character, (SDL_Color){255, 255, 255, 255});
    if (surface && place(text, (uint32_t)surface->w, (uint32_t)surface->h, &glyph->source))
        copy_surface(text, glyph->source, surface);
    SDL_FreeSurface(surface);
}

static glyph *find(text *text, text_size size, uint32_t character)
{
    uint32_t at = (character * 3 + (uint32_t)size) * 2654435761u % MAX_GLYPHS;
    for (;; at = (at + 1) % MAX_GLYPHS) {
        glyph *glyph = &text->glyphs[at];
        if (glyph->character == 0) {
            if (text->full) return &text->blank;
            glyph->character = character;
            glyph->size = size;
            text->full = ++text->glyph_count == MAX_GLYPHS / 2;
            make_glyph(text, glyph);
            return glyph;
        }
        if (glyph->character == character && glyph->size == size) return glyph;
    }
}

/* The character at *string, which moves on; bytes that are no UTF-8 give the replacement character. */
static uint32_t next_character(const char **string, const char *end)
{
    const unsigned char *bytes = (const unsigned char *)*string;
    int more = bytes[0] < 0x80 ? 0 : bytes[0] >= 0xf0 ? 3 : bytes[0] >= 0xe0 ? 2 : bytes[0] >= 0xc0 ? 1 : -1;
    if (more < 0 || end - *string <= more) {
        ++*string;
        return REPLACEMENT;
    }
    uint32_t character = more == 0 ? bytes[0] : bytes[0] & (0x3fu >> more);
    for (int i = 1; i <= more; i++) character = character << 6 | (bytes[i] & 0x3f);
    *string += more + 1;
    return character ? character : REPLACEMENT;
}

/* ---- Layout ----------------------------------------------------------------------------------------------------- */

static float lay_out(text *text, draw_list *list, text_size size, float x, float y, rgba colour, const char *string,
                     size_t length)
{
    const char *end = string + length;
    const float start = x;
    uint32_t before = 0;
    while (string < end) {
        const uint32_t character = next_character(&string, end);
        const glyph *glyph = find(text, size, character);
        if (before) x += (float)TTF_GetFontKerningSizeGlyphs32(text->fonts[size], before, character);
        if (list && character != ' ')
            draw_sprite(list, DRAW_GLYPHS, glyph->source, x + glyph->left, y, glyph->source.w, glyph->source.h, colour);
        x += glyph->advance;
        before = character;
    }
    return x - start;
}

float text_width(text *text, text_size size, const char *string, size_t length)
{
    return lay_out(text, NULL, size, 0, 0, (rgba){0}, string, length);
}

float text_draw(text *text, draw_list *list, text_size size, float x, float y, rgba colour, const char *string,
                size_t length)
{
    return lay_out(text, list, size, floorf(x + 0.5f), floorf(y + 0.5f), colour, string, length);
}

float text_line_height(const text *text, text_size size)
{
    return (float)TTF_FontLineSkip(text->fonts[size]);
}

static bool is_continuation(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

size_t text_break(text *text, text_size size, const char *string, float width, const char **next)
{
    size_t fits = 0, at = 0;
    for (;;) {
        size_t word = at + strcspn(string + at, " ");
        if (text_width(text, size, string, word) > width) break;
        fits = word;
        if (!string[word]) {
            *next = string + word;
            return word;
        }
        at = word + 1;
    }
    if (fits > 0) {
        *next = string + fits + 1;
        return fits;
    }
    /* A word that is wider than a line is cut. */
    for (fits = 1; is_continuation(string[fits]); fits++) {}
    for (size_t longer = fits; string[longer] && string[longer] != ' '; fits = longer) {
        for (longer++; is_continuation(string[longer]); longer++) {}
        if (text_width(text, size, string, longer) > width) break;
    }
    *next = string + fits;
    return fits;
}

void text_prepare(text *text, draw_list *list)
{
    if (text->full) empty(text);
    list->disc = text->disc;
    list->glow = text->glow;
}

/* ---- Life ------------------------------------------------------------------------------------------------------- */

static const char *find_font(void)
{
    for (size_t i = 0; i < sizeof fonts / sizeof fonts[0]; i++)
        if (access(fonts[i], R_OK) == 0) return fonts[i];
    return NULL;
}

static void close_fonts(text *text)
{
    for (int i = 0; i < TEXT_SIZES; i++) {
        if (text->fonts[i]) TTF_CloseFont(text->fonts[i]);
        text->fonts[i] = NULL;
    }
}

bool text_set_scale(text *text, float scale)
{
    close_fonts(text);
    for (int i = 0; i < TEXT_SIZES; i++) {
        text->fonts[i] = TTF_OpenFont(text->path, (int)(heights[i] * scale + 0.5f));
        if (!text->fonts[i]) return report("%s: %s", text->path, TTF_GetError());
        TTF_SetFontHinting(text->fonts[i], TTF_HINTING_LIGHT);
    }
    empty(text);
    return true;
}

bool text_create(const char *font, float scale, text **out)
{
    *out = NULL;
    if (!font && !(font = find_font()))
        return report("no font found (Debian: fonts-dejavu-core); --font FILE names one");
    if (TTF_Init() != 0) return report("SDL_ttf: %s", TTF_GetError());
    text *text = calloc(1, sizeof *text);
    if (!text) {
        TTF_Quit();
        return report("out of memory");
    }
    text->path = font;
    if (text_set_scale(text, scale))
        *out = text;
    else
        text_destroy(text);
    return *out != NULL;
}

void text_destroy(text *text)
{
    if (!text) return;
    close_fonts(text);
    TTF_Quit();
    free(text);
}
