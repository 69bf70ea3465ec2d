// The same in C++.
#include "main.c"
