/* 16-bit floats: every pattern there and back, and rounding at every midpoint. */
#include "base/base.h"

#include "test.h"

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* The value of a half by the definition of IEEE 754. */
static double f16_by_definition(uint32_t bits)
{
    int exponent = (int)(bits >> 10 & 31), mantissa = (int)(bits & 1023);
    double magnitude = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    if (exponent == 31) magnitude = mantissa ? NAN : INFINITY;
    return bits & 0x8000 ? -magnitude : magnitude;
}

static void test_f16(void)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float value = rn_f16_to_f32((uint16_t)bits);
        double expected = f16_by_definition(bits);
        if (isnan(expected)) {
            CHECK(isnan(value) && isnan(rn_f16_to_f32(rn_f32_to_f16(value))));
            CHECK((rn_f32_to_f16(value) & 0x8000) == (bits & 0x8000));
            continue;
        }
        CHECK(value == expected && !signbit(value) == !signbit(expected));
        CHECK_INT(rn_f32_to_f16(value), bits);
    }
}

/* Halfway between two neighbours the even one wins; just beside it, the nearer one. */
static void test_f16_rounding(void)
{
    for (uint32_t bits = 0; bits < 0x7C00; bits++) {
        double below = f16_by_definition(bits);
        double above = bits + 1 == 0x7C00 ? 65536.0 : f16_by_definition(bits + 1);
        float middle = (float)((below + above) / 2);
        for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000) {
            float s = sign ? -1.0f : 1.0f;
            CHECK_INT(rn_f32_to_f16(s * middle), sign | (bits + (bits & 1)));
            CHECK_INT(rn_f32_to_f16(s * nextafterf(middle, 0)), sign | bits);
            CHECK_INT(rn_f32_to_f16(s * nextafterf(middle, INFINITY)), sign | (bits + 1));
        }
    }
    CHECK_INT(rn_f32_to_f16(1e30f), 0x7C00);
    CHECK_INT(rn_f32_to_f16(-INFINITY), 0xFC00);
    CHECK_INT(rn_f32_to_f16(1e-30f), 0);
    CHECK_INT(rn_f32_to_f16(from_bits(0x80000001)), 0x8000);
    CHECK(isnan(rn_f16_to_f32(rn_f32_to_f16(from_bits(0x7F800001))))); /* a NaN whose kept bits are all zero */
}

static void test_bf16(void)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float value = rn_bf16_to_f32((uint16_t)bits);
        if (isnan(value))
            CHECK(isnan(rn_bf16_to_f32(rn_f32_to_bf16(value))));
        else
            CHECK_INT(rn_f32_to_bf16(value), bits);
        if ((bits & 0x7FFF) >= 0x7F80) continue;
        CHECK_INT(rn_f32_to_bf16(from_bits(bits << 16 | 0x7FFF)), bits);
        CHECK_INT(rn_f32_to_bf16(from_bits(bits << 16 | 0x8000)), bits + (bits & 1));
        CHECK_INT(rn_f32_to_bf16(from_bits(bits << 16 | 0x8001)), bits + 1);
    }
    CHECK(isnan(rn_bf16_to_f32(rn_f32_to_bf16(from_bits(0x7F800001)))));
}

int main(void)
{
    test_f16();
    test_f16_rounding();
    test_bf16();
    return test_finish();
}
