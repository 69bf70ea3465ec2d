#include "layers/tables.h"

#include <math.h>

enum { DIGITS = 1024, LEVELS = 3 };

uint32_t rn_angle_floats(uint32_t pairs)
{
    return LEVELS * DIGITS * pairs * 2;
}

uint32_t rn_decay_sum_floats(uint32_t heads)
{
    return heads * LEVELS * DIGITS * 2;
}

void rn_write_angles(float *out, const double *theta, uint32_t pairs)
{
    const double turn = 6.283185307179586476925286766559;
    double step = 1;
    for (int level = 0; level < LEVELS; level++, step *= DIGITS) {
        for (int digit = 0; digit < DIGITS; digit++) {
            for (uint32_t i = 0; i < pairs; i++) {
                double angle = fmod(digit * step * theta[i], turn);
                *out++ = (float)cos(angle);
                *out++ = (float)sin(angle);
            }
        }
    }
}

double rn_decay_sum(double decay, double terms)
{
    return decay == 1.0 ? terms : -expm1(terms * log(decay)) / (1.0 - decay); /* the closed form is 0/0 at decay 1 */
}

void rn_write_decay_sums(float *out, const float *decay, uint32_t heads)
{
    for (uint32_t h = 0; h < heads; h++) {
        double step = 1;
        for (int level = 0; level < LEVELS; level++, step *= DIGITS) {
            for (int digit = 0; digit < DIGITS; digit++) {
                double terms = level == 0 ? digit + 1 : digit * step;
                *out++ = (float)rn_decay_sum(decay[h], terms);
                *out++ = (float)pow(decay[h], terms);
            }
        }
    }
}

void rn_write_powers(float *out, const float *decay, uint32_t heads, uint32_t count)
{
    for (uint32_t h = 0; h < heads; h++)
        for (uint32_t n = 0; n < count; n++) *out++ = (float)pow(decay[h], n);
}
