/* pretend.h: kinds of device that a test program can be told to pretend, by name, so that ctest and tests/devices.sh
 * run it once for each: RETNET_TEST_PRETEND=gpu,minimum-limits. */
#ifndef RETNET_TESTS_PRETEND_H
#define RETNET_TESTS_PRETEND_H

#include "retnet/retnet.h"
#include "test.h"

/* retnet_pretend bits of the environment's names; an unknown one ends the program. */
static inline uint32_t test_pretend(void)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } kinds[] = {
        {"no-subgroup", RETNET_PRETEND_NO_SUBGROUP},
        {"no-float16", RETNET_PRETEND_NO_FLOAT16},
        {"no-matrix", RETNET_PRETEND_NO_COOPERATIVE_MATRIX},
        {"no-int8", RETNET_PRETEND_NO_INT8},
        {"no-timeline", RETNET_PRETEND_NO_TIMELINE},
        {"minimum-limits", RETNET_PRETEND_MINIMUM_LIMITS},
        {"discrete", RETNET_PRETEND_DISCRETE},
        {"gpu", RETNET_PRETEND_GPU},
        {"subgroup-4", RETNET_PRETEND_SUBGROUP_4},
        {"subgroup-8", RETNET_PRETEND_SUBGROUP_8},
        {"subgroup-16", RETNET_PRETEND_SUBGROUP_16},
        {"subgroup-32", RETNET_PRETEND_SUBGROUP_32},
        /* A GPU with nothing beyond what Vulkan 1.1 guarantees. */
        {"least-gpu", RETNET_PRETEND_GPU | RETNET_PRETEND_NO_SUBGROUP | RETNET_PRETEND_NO_FLOAT16 |
                          RETNET_PRETEND_NO_COOPERATIVE_MATRIX | RETNET_PRETEND_MINIMUM_LIMITS |
                          RETNET_PRETEND_DISCRETE | RETNET_PRETEND_NO_TIMELINE | RETNET_PRETEND_NO_INT8},
    };
    const char *names = getenv("RETNET_TEST_PRETEND");
    uint32_t bits = 0;
    while (names && *names) {
        size_t length = strcspn(names, ","), i = 0, count = sizeof kinds / sizeof *kinds;
        while (i < count && (strlen(kinds[i].name) != length || strncmp(kinds[i].name, names, length) != 0)) i++;
        if (i == count) {
            fprintf(stderr, "RETNET_TEST_PRETEND: there is no kind %s\n", names);
            exit(2);
        }
        bits |= kinds[i].bits;
        names += length + (names[length] == ',');
    }
    return bits;
}

#endif
