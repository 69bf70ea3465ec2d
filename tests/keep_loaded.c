/* keep_loaded.c: libraries stay loaded until the process ends. LeakSanitizer reports at the end, and could no longer
 * name drivers and layers that are gone, so that lsan.supp would not apply; ThreadSanitizer wants those that tsan.supp
 * names to stay. Part of every program in sanitizer builds;
 * being the program's, this definition comes before the C library's. */
int dlclose(void *handle);

__attribute__((visibility("default"))) int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
