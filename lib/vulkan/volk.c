/* volk.c: the library's own, hidden copy of volk. */
#define VOLK_IMPLEMENTATION
#include <volk.h>
