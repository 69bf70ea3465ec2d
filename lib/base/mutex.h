/* mutex.h: the lock and the condition that the library needs, on POSIX and Windows. */
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
typedef CONDITION_VARIABLE rn_condition;
static inline void rn_condition_init(rn_condition *condition)
{
    InitializeConditionVariable(condition);
}
static inline void rn_condition_destroy(rn_condition *condition)
{
    (void)condition;
}
static inline void rn_condition_wait(rn_condition *condition, rn_mutex *mutex)
{
    SleepConditionVariableCS(condition, mutex, INFINITE);
}
static inline void rn_condition_signal_all(rn_condition *condition)
{
    WakeAllConditionVariable(condition);
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
typedef pthread_cond_t rn_condition;
static inline void rn_condition_init(rn_condition *condition)
{
    pthread_cond_init(condition, 0);
}
static inline void rn_condition_destroy(rn_condition *condition)
{
    pthread_cond_destroy(condition);
}
static inline void rn_condition_wait(rn_condition *condition, rn_mutex *mutex)
{
    pthread_cond_wait(condition, mutex);
}
static inline void rn_condition_signal_all(rn_condition *condition)
{
    pthread_cond_broadcast(condition);
}
#endif

#endif
