/* preparing.c: see preparing.h. */
#include "preparing.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_THREADS = 64, USUAL_THREADS = 8 };

struct preparing {
    retnet_model *model;
    retnet_prepare_desc desc;
    pthread_t threads[MAX_THREADS];
    unsigned started;
    atomic_uint ended;
    atomic_ullong done, total;
    atomic_bool cancelled;
    atomic_int result; /* the first that is not RETNET_OK */
};

/* Each thread counts all kernels, also those that others make. */
static bool on_progress(void *user, uint64_t done, uint64_t total)
{
    preparing *p = user;
    unsigned long long before = atomic_load(&p->done);
    while (before < done && !atomic_compare_exchange_weak(&p->done, &before, done)) {}
    atomic_store(&p->total, total);
    return !atomic_load(&p->cancelled);
}

static void *make_share(void *user)
{
    preparing *p = user;
    int good = RETNET_OK, result = (int)retnet_model_prepare(p->model, &p->desc);
    if (result != RETNET_OK) atomic_compare_exchange_strong(&p->result, &good, result);
    atomic_fetch_add(&p->ended, 1);
    return NULL;
}

static unsigned usual_threads(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > USUAL_THREADS ? USUAL_THREADS : (unsigned)cores;
}

preparing *preparing_start(retnet_model *model, const retnet_session_desc *session, unsigned threads)
{
    preparing *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    if (threads == 0) threads = usual_threads();
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    p->model = model;
    p->desc = (retnet_prepare_desc){.session = *session, .progress = on_progress, .progress_user = p};
    while (p->started < threads && pthread_create(&p->threads[p->started], NULL, make_share, p) == 0) p->started++;
    if (p->started) return p;
    free(p);
    return NULL;
}

preparing_progress preparing_look(preparing *p)
{
    return (preparing_progress){
        .done = atomic_load(&p->done), .total = atomic_load(&p->total), .ended = atomic_load(&p->ended) == p->started};
}

void preparing_cancel(preparing *p)
{
    atomic_store(&p->cancelled, true);
}

retnet_result preparing_end(preparing *p)
{
    for (unsigned i = 0; i < p->started; i++) pthread_join(p->threads[i], NULL);
    retnet_result result = (retnet_result)atomic_load(&p->result);
    free(p);
    return result;
}
