/* art_ground.c: paints the ground: meadows, paths, the square, the river, the field. */
#include "brush.h"

#include <math.h>

static uint32_t grass(int x, int y)
{
    static const uint32_t tones[4] = {0x4f8f3c, 0x5a9c42, 0x66a84a, 0x74b354};
    const float broad = brush_noise((float)x / 60, (float)y / 60, 10),
                fine = brush_noise((float)x / 14, (float)y / 14, 11);
    const float tone = broad * 2.2f + fine * 1.3f + map_random(x, y, 12) * 0.8f - 0.3f;
    uint32_t rgb = tones[tone < 0 ? 0 : tone > 3 ? 3 : (int)tone];
    const float blade = map_random(x / 2, y, 13); /* short strokes */
    if (blade > 0.965f) return brush_shade(rgb, 1.14f);
    if (blade < 0.03f) return brush_shade(rgb, 0.88f);
    return rgb;
}

static uint32_t earth(int x, int y)
{
    const float tone = brush_noise((float)x / 9, (float)y / 9, 20) + (map_random(x, y, 21) - 0.5f) * 0.35f;
    if (map_random(x / 2, y / 2, 22) > 0.975f) return 0xa8906a; /* pebbles */
    return tone < 0.35f ? 0xb99566 : tone < 0.7f ? 0xc4a173 : 0xcfae80;
}

/* Stones with gaps between: the nearest and the second nearest of points in a wobbly lattice. */
static uint32_t cobbles(int x, int y)
{
    const float size = 7;
    const int cx = (int)floorf((float)x / size), cy = (int)floorf((float)y / size);
    float first = 1e9f, second = 1e9f, tone = 0;
    for (int j = cy - 1; j <= cy + 1; j++)
        for (int i = cx - 1; i <= cx + 1; i++) {
            const float px = ((float)i + 0.2f + 0.6f * map_random(i, j, 30)) * size;
            const float py = ((float)j + 0.2f + 0.6f * map_random(i, j, 31)) * size;
            const float away = hypotf((float)x - px, (float)y - py);
            if (away < first) {
                second = first;
                first = away;
                tone = map_random(i, j, 32);
            } else if (away < second) {
                second = away;
            }
        }
    if (second - first < 1.1f) return 0x8a8074;
    uint32_t rgb = tone < 0.33f ? 0xb0a698 : tone < 0.66f ? 0xbcb2a2 : 0xa79d90;
    return first < 1.6f ? brush_shade(rgb, 1.12f) : rgb;
}

static uint32_t water(int x, int y, float depth)
{
    const float ripple = brush_noise((float)x / 9, (float)y / 4 + sinf((float)x / 6), 40);
    uint32_t rgb = draw_mix(0x5fa8c8, 0x2f6f9e, depth > 1.6f ? 1 : depth / 1.6f);
    if (ripple > 0.78f) return brush_shade(rgb, 1.22f);
    if (ripple < 0.2f) return brush_shade(rgb, 0.92f);
    return rgb;
}

static uint32_t planks(int x, int y, bool across)
{
    const int along = across ? x : y, seam = across ? y : x;
    if (along % 6 == 0) return 0x6a4a30;
    uint32_t rgb = map_random(along / 6, 0, 50) < 0.5f ? 0x9a7048 : 0xa87c52;
    return map_random(along / 6, seam / 5, 51) > 0.85f ? brush_shade(rgb, 0.88f) : rgb;
}

static uint32_t field(int x, int y)
{
    const int row = y % 9;
    if (row < 5) return row == 0 || row == 4 ? 0x6f4e32 : map_random(x, y, 60) < 0.3f ? 0x7a5638 : 0x835f3f;
    const int plant = x % 8;
    if (row >= 5 && plant >= 2 && plant <= 5) {
        if ((x / 8 + y / 9) % 3 == 0 && row == 6 && plant == 3) return 0xe88a3a;
        return row == 5 || plant == 2 || plant == 5 ? 0x4f8f36 : 0x72b648;
    }
    return 0x7a5638;
}

static uint32_t ground_at(int x, int y)
{
    const float tx = ((float)x + 0.5f) / ART_TILE, ty = ((float)y + 0.5f) / ART_TILE;
    const float wobble = (brush_noise((float)x / 7, (float)y / 7, 70) - 0.5f) * 0.35f;
    const float river = map_river_distance(tx, ty) + wobble * 0.6f;
    if (map_is_bridge(tx, ty)) {
        const bool bridge = ty < 20;
        const float rim = bridge ? 1.05f - fabsf(ty - 16.5f) : 0.75f - fabsf(ty - 30.8f);
        return rim < 0.14f ? 0x5a3f2a : planks(x, y, true);
    }
    if (river < -0.12f) return water(x, y, -river);
    if (river < 0) return 0x8fd0e0; /* foam */
    if (river < 0.32f) return map_random(x, y, 71) < 0.4f ? 0xd9c489 : 0xe3d09a;
    if (river < 0.42f) return 0xb09a62;
    const float square = map_square_distance(tx, ty) + wobble * 0.5f;
    if (square < 0) return cobbles(x, y);
    const float path = fminf(map_path_distance(tx, ty) + wobble, square);
    if (path < 0) return path > -0.1f ? 0xa98658 : earth(x, y);
    if (path < 0.09f) return 0x4a8038;
    if (map_is_field(tx, ty)) return field(x, y);
    return grass(x, y);
}

/* Little flowers in patches. */
static void scatter_flowers(const brush *b)
{
    static const uint32_t petals[5] = {0xf4f0e0, 0xf2d04a, 0xe86a8a, 0xb08ae0, 0xf09a4a};
    for (int y = 1; y < b->area.h - 1; y += 2)
        for (int x = 1; x < b->area.w - 1; x += 2) {
            const float tx = (float)x / ART_TILE, ty = (float)y / ART_TILE;
            if (brush_noise((float)x / 34, (float)y / 34, 80) < 0.68f || map_random(x, y, 81) > 0.07f) continue;
            if (map_path_distance(tx, ty) < 0.3f || map_square_distance(tx, ty) < 0.3f) continue;
            if (map_river_distance(tx, ty) < 0.7f || map_is_field(tx, ty)) continue;
            const uint32_t petal = petals[(int)(5 * brush_noise((float)x / 50, (float)y / 50, 82)) % 5];
            brush_dot(b, x, y, petal);
            brush_dot(b, x + 1, y, brush_shade(petal, 0.85f));
            brush_dot(b, x, y + 1, 0x3f7a30);
        }
}

void paint_ground(const brush *b)
{
    for (int y = 0; y < b->area.h; y++)
        for (int x = 0; x < b->area.w; x++) brush_dot(b, x, y, ground_at(x, y));
    scatter_flowers(b);
}
