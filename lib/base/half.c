/* half.c: 16-bit floats. Written on bits, so that results do not depend on the compiler's or processor's modes. */
#include "base/base.h"

#include <string.h>

static uint32_t rn_float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static float rn_bits_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* bits >> shift, rounded to nearest even; 0 < shift < 32. A carry out of the mantissa goes into the exponent, which is
 * what rounding up to the next power of two (or to infinity) means. */
static uint32_t rn_shift_round(uint32_t bits, uint32_t shift)
{
    uint32_t result = bits >> shift, rest = bits & ((UINT32_C(1) << shift) - 1), half = UINT32_C(1) << (shift - 1);
    if (rest > half || (rest == half && (result & 1))) result++;
    return result;
}

float rn_f16_to_f32(uint16_t value)
{
    uint32_t sign = (uint32_t)(value & 0x8000) << 16, exponent = (value >> 10) & 31, mantissa = value & 1023;
    if (exponent == 31) return rn_bits_float(sign | 0x7F800000 | mantissa << 13);
    if (exponent > 0) return rn_bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
    float magnitude = (float)mantissa * (1.0f / 16777216.0f); /* subnormal: mantissa * 2^-24, exact */
    return sign ? -magnitude : magnitude;
}

uint16_t rn_f32_to_f16(float value)
{
    uint32_t bits = rn_float_bits(value), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x3FF)); /* NaN, made quiet */
    if (magnitude >= 0x477FF000) return (uint16_t)(sign | 0x7C00); /* 65520 and above round to infinity */
    if (magnitude >= 0x38800000) return (uint16_t)(sign | rn_shift_round(magnitude - 0x38000000, 13));
    if (magnitude < 0x33000000) return (uint16_t)sign; /* below 2^-25 */
    uint32_t shift = 126 - (magnitude >> 23);          /* 2^-14 > magnitude: count in units of 2^-24 */
    return (uint16_t)(sign | rn_shift_round((magnitude & 0x7FFFFF) | 0x800000, shift));
}

float rn_bf16_to_f32(uint16_t value)
{
    return rn_bits_float((uint32_t)value << 16);
}

uint16_t rn_f32_to_bf16(float value)
{
    uint32_t bits = rn_float_bits(value), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return (uint16_t)(sign | magnitude >> 16 | 0x40);
    return (uint16_t)(sign | rn_shift_round(magnitude, 16));
}
