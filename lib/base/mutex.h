/* mutex.h: the one lock that the library needs, on POSIX and Windows. */
#ifndef RETNET_BASE_MUTEX_H
#define RETNET_BASE_MUTEX_H

#ifdef _WIN32
#include <windows.h>
typedef CRITICAL_SECTION rn_mutex;
static inline void rn_mutex_init(rn_mutex *mutex)
{
    InitializeCriticalSection(mutex);
}
static inline void rn_mutex_destroy(rn_mutex *mutex)
{
    DeleteCriticalSection(mutex);
}
static inline void rn_mutex_lock(rn_mutex *mutex)
{
    EnterCriticalSection(mutex);
}
static inline void rn_mutex_unlock(rn_mutex *mutex)
{
    LeaveCriticalSection(mutex);
}
#else
#include <pthread.h>
typedef pthread_mutex_t rn_mutex;
static inline void rn_mutex_init(rn_mutex *mutex)
{
    pthread_mutex_init(mutex, 0);
}
static inline void rn_mutex_destroy(rn_mutex *mutex)
{
    pthread_mutex_destroy(mutex);
}
static inline void rn_mutex_lock(rn_mutex *mutex)
{
    pthread_mutex_lock(mutex);
}
static inline void rn_mutex_unlock(rn_mutex *mutex)
{
    pthread_mutex_unlock(mutex);
}
#endif

#endif
