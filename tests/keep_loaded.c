/* keep_loaded.c: libraries stay loaded until the process ends; being the program's, this definition comes before the C
 * library's. Part of every program in sanitizer builds: LeakSanitizer reports at the end, and could no longer name
 * drivers and layers that are gone, so that lsan.supp would not apply; ThreadSanitizer wants those that tsan.supp names
 * to stay. And part of those that make contexts again and again: the loader takes the driver along when the last
 * instance goes, and NVIDIA's 580.159.04 cannot be loaded more than some 30 times in a process. */
int dlclose(void *handle);

__attribute__((visibility("default"))) int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
