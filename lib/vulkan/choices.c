#include "vulkan/choices.h"

void rn_choices_init(rn_choices *choices)
{
    rn_mutex_init(&choices->lock);
    rn_mutex_init(&choices->measuring);
    atomic_init(&choices->count, 0);
}

void rn_choices_destroy(rn_choices *choices)
{
    rn_mutex_destroy(&choices->lock);
    rn_mutex_destroy(&choices->measuring);
}

bool rn_choices_find(const rn_choices *choices, uint64_t question, uint64_t *answer)
{
    uint32_t count = atomic_load_explicit(&choices->count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        if (choices->made[i].question != question) continue;
        *answer = choices->made[i].answer;
        return true;
    }
    return false;
}

void rn_choices_add(rn_choices *choices, uint64_t question, uint64_t answer)
{
    uint64_t known;
    rn_mutex_lock(&choices->lock);
    uint32_t count = atomic_load_explicit(&choices->count, memory_order_relaxed);
    if (count < RN_MAX_CHOICES && !rn_choices_find(choices, question, &known)) {
        choices->made[count] = (rn_choice){question, answer};
        atomic_store_explicit(&choices->count, count + 1, memory_order_release);
    }
    rn_mutex_unlock(&choices->lock);
}
