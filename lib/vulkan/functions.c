#include "vulkan/functions.h"

#include <stddef.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

/* ---- The loader ------------------------------------------------------------------------------------------------- */

#ifdef _WIN32

PFN_vkGetInstanceProcAddr rn_loader_open(void **library)
{
    /* Not from the current folder, where anybody's files may lie. */
    HMODULE module = LoadLibraryExA("vulkan-1.dll", NULL, LOAD_LIBRARY_SEARCH_DEFAULT_DIRS);
    *library = (void *)module;
    return module ? (PFN_vkGetInstanceProcAddr)(void (*)(void))GetProcAddress(module, "vkGetInstanceProcAddr") : NULL;
}

void rn_loader_close(void *library)
{
    if (library) FreeLibrary((HMODULE)library);
}

#else

PFN_vkGetInstanceProcAddr rn_loader_open(void **library)
{
#ifdef __APPLE__
    static const char *const names[] = {"libvulkan.dylib", "libvulkan.1.dylib", "libMoltenVK.dylib"};
#else
    static const char *const names[] = {"libvulkan.so.1", "libvulkan.so"};
#endif
    *library = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !*library; i++)
        *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!*library) return NULL;
    /* C has no conversion from an object pointer to a function's; POSIX says that the bits are good. */
    void *symbol = dlsym(*library, "vkGetInstanceProcAddr");
    PFN_vkGetInstanceProcAddr get = NULL;
    memcpy(&get, &symbol, sizeof get);
    return get;
}

void rn_loader_close(void *library)
{
    if (library) dlclose(library);
}

#endif

/* ---- Tables ----------------------------------------------------------------------------------------------------- */

bool rn_instance_table_load(PFN_vkGetInstanceProcAddr get, VkInstance instance, rn_instance_table *table)
{
    bool complete = true;
#define RN_LOAD(name)                                                                                                  \
    table->name = (PFN_vk##name)get(instance, "vk" #name);                                                             \
    complete = complete && table->name;
    RN_INSTANCE_FUNCTIONS(RN_LOAD)
#undef RN_LOAD
    return complete;
}

bool rn_device_table_load(PFN_vkGetDeviceProcAddr get, VkDevice device, bool debug_utils, rn_device_table *table)
{
    bool complete = true, debug = debug_utils;
    memset(table, 0, sizeof *table);
#define RN_LOAD(name)                                                                                                  \
    table->vk##name = (PFN_vk##name)get(device, "vk" #name);                                                           \
    complete = complete && table->vk##name;
    RN_DEVICE_FUNCTIONS(RN_LOAD)
#undef RN_LOAD
#define RN_LOAD(name) table->vk##name = (PFN_vk##name)get(device, "vk" #name);
    RN_LATER_FUNCTIONS(RN_LOAD)
#undef RN_LOAD
    if (!debug) return complete;
#define RN_LOAD(name)                                                                                                  \
    table->vk##name = (PFN_vk##name)get(device, "vk" #name);                                                           \
    debug = debug && table->vk##name;
    RN_DEBUG_FUNCTIONS(RN_LOAD)
#undef RN_LOAD
    if (debug) return complete;
#define RN_FORGET(name) table->vk##name = NULL;
    RN_DEBUG_FUNCTIONS(RN_FORGET)
#undef RN_FORGET
    return complete;
}
