/* cost_test.c: what the session expects of stages that it has measured, and of those that it has not, from made-up
 * measurements. */
#include "session/session.h"
#include "test.h"

enum { LAYERS = 4 };

static rn_segment segment_of(rn_pass_class class, uint32_t rows, uint32_t chunks)
{
    return (rn_segment){
        .class = class, .pure = true, .extent = {.rows = rows, .chunks = chunks}, .weight = 100 * LAYERS};
}

/* All layers of such a pass took so long, several times. */
static void measure(retnet_session *session, rn_pass_class class, uint32_t rows, uint32_t chunks, uint64_t ns)
{
    rn_segment segment = segment_of(class, rows, chunks);
    for (int i = 0; i < 4; i++) rn_cost_learn(session, &segment, &ns, 1);
}

static uint64_t layers_ns(const retnet_session *session, rn_pass_class class, uint32_t rows)
{
    return rn_cost_pass_ns(session, class, rows, 0);
}

static void check_near(const char *what, uint64_t actual, uint64_t expected)
{
    if (actual < expected * 99 / 100 || actual > expected * 101 / 100)
        TEST_FAIL("%s: %llu ns, expected about %llu", what, (unsigned long long)actual, (unsigned long long)expected);
}

/* What was not measured costs no more than its share of what was. */
static void test_bounds(retnet_session *session)
{
    CHECK_INT(layers_ns(session, RN_PASS_CHUNKS, 64), 0);
    measure(session, RN_PASS_CHUNKS, 64, 1, 4000000);
    check_near("as measured", layers_ns(session, RN_PASS_CHUNKS, 64), 4000000);
    check_near("twice as many", layers_ns(session, RN_PASS_CHUNKS, 128), 8000000);
    check_near("fewer", layers_ns(session, RN_PASS_CHUNKS, 10), 4000000);
    CHECK_INT(layers_ns(session, RN_PASS_STEPS, 64), 0);
    measure(session, RN_PASS_CHUNKS, 128, 2, 5000000);
    check_near("both measured", layers_ns(session, RN_PASS_CHUNKS, 128), 5000000);
    CHECK_INT(rn_cost_fitting_rows(session, RN_PASS_CHUNKS, 700000), 128);
    CHECK_INT(rn_cost_fitting_rows(session, RN_PASS_CHUNKS, 550000), 64);
}

/* A device that has slowed down is slow at everything, and fast again at everything. */
static void test_pace(retnet_session *session)
{
    rn_segment steps[2] = {segment_of(RN_PASS_CHUNKS, 64, 1), segment_of(RN_PASS_CHUNKS, 128, 2)};
    measure(session, RN_PASS_CHUNKS, 512, 8, 20000000);
    const uint64_t slow[2] = {12000000, 15000000}, fast[2] = {4000000, 5000000};
    rn_cost_learn(session, steps, slow, 2);
    check_near("three times slower", layers_ns(session, RN_PASS_CHUNKS, 512), 60000000);
    for (int i = 0; i < 100; i++) rn_cost_learn(session, steps, i % 2 ? slow : fast, 2);
    check_near("after many changes", layers_ns(session, RN_PASS_CHUNKS, 512), 60000000);
    rn_cost_learn(session, steps, fast, 2);
    check_near("fast again", layers_ns(session, RN_PASS_CHUNKS, 512), 20000000);
    check_near("and itself", layers_ns(session, RN_PASS_CHUNKS, 128), 5000000);
}

/* What is short, was slow for once and is as it was again leaves all else what it was. */
static void test_hiccups(retnet_session *session)
{
    rn_segment segment = segment_of(RN_PASS_STEPS, 1, 0);
    measure(session, RN_PASS_STEPS, 1, 0, 150000);
    for (int i = 0; i < 20; i++) {
        rn_cost_learn(session, &segment, &(uint64_t){30000000}, 1);
        for (int k = 0; k < 4; k++) rn_cost_learn(session, &segment, &(uint64_t){250000}, 1);
    }
    check_near("after slow single steps", layers_ns(session, RN_PASS_CHUNKS, 512), 20000000);
    check_near("and others", layers_ns(session, RN_PASS_CHUNKS, 128), 5000000);
}

/* As if the stage took so long, several times. */
static void measure_stage(retnet_session *session, const rn_pass *pass, uint32_t stage, uint64_t ns)
{
    rn_segment segment = {.class = pass->class, .pure = true, .extent = rn_cost_extent(session, pass, stage)};
    segment.weight = rn_cost_stage_weight(session, pass, stage);
    for (int i = 0; i < 4; i++) rn_cost_learn(session, &segment, &ns, 1);
}

/* The last layer, where it leaves rows out, says nothing about others. */
static void test_last_layer(retnet_session *session)
{
    enum { BEFORE = 2 * LAYERS - 4, RETENTION = 2 * LAYERS - 2, FEED_FORWARD = 2 * LAYERS - 1 };
    uint32_t last_row = 127;
    rn_part part = {.count = 128};
    rn_pass pass = {.class = RN_PASS_CHUNKS, .rows = 128, .chunks = 2, .parts = &part, .part_count = 1};
    pass.wanted = &last_row;
    pass.wanted_count = 1;
    check_near("a layer's retention", rn_cost_stage_ns(session, &pass, BEFORE), 625000);
    check_near("the last one's at most", rn_cost_stage_ns(session, &pass, RETENTION), 625000);
    check_near("of few rows at most", rn_cost_stage_ns(session, &pass, FEED_FORWARD), 500000); /* of 64 */
    measure_stage(session, &pass, RETENTION, 400000);
    measure_stage(session, &pass, FEED_FORWARD, 10000);
    check_near("the last one's", rn_cost_stage_ns(session, &pass, RETENTION), 400000);
    check_near("of few rows", rn_cost_stage_ns(session, &pass, FEED_FORWARD), 10000);
    check_near("a layer's retention still", rn_cost_stage_ns(session, &pass, BEFORE), 625000);
    check_near("layers of as few rows", layers_ns(session, RN_PASS_CHUNKS, 4), 4000000);
    pass.class = RN_PASS_STEPS;
    pass.chunks = 0;
    CHECK(rn_extent_equal(rn_cost_extent(session, &pass, FEED_FORWARD), rn_cost_extent(session, &pass, BEFORE)));
}

/* Its first stage takes longer the more rows are wanted, and says nothing about one that has more of them. */
static void test_wanted_rows(retnet_session *session)
{
    enum { RETENTION = 2 * LAYERS - 2 };
    uint32_t ends[] = {7, 127};
    rn_part parts[] = {{.count = 8}, {.row = 8, .count = 120}};
    rn_pass middle = {.class = RN_PASS_CHUNKS, .rows = 128, .chunks = 2, .parts = parts, .part_count = 1};
    rn_pass two = {.class = RN_PASS_CHUNKS, .rows = 128, .chunks = 2, .parts = parts, .part_count = 2};
    two.wanted = ends;
    two.wanted_count = 2;
    measure_stage(session, &middle, RETENTION, 300000);
    check_near("of no rows", rn_cost_stage_ns(session, &middle, RETENTION), 300000);
    check_near("of nearly all of them at most", rn_cost_stage_ns(session, &two, RETENTION), 625000);
    measure_stage(session, &two, RETENTION, 600000);
    check_near("of nearly all of them", rn_cost_stage_ns(session, &two, RETENTION), 600000);
    check_near("of no rows still", rn_cost_stage_ns(session, &middle, RETENTION), 300000);
    check_near("other layers still", layers_ns(session, RN_PASS_CHUNKS, 128), 5000000);
}

/* The only layer is the last one, and how many rows fit goes by that. */
static void test_single_layer(retnet_session *session)
{
    uint32_t last_row = 63;
    rn_part part = {.count = 64};
    rn_pass pass = {.class = RN_PASS_CHUNKS, .rows = 64, .chunks = 1, .parts = &part, .part_count = 1};
    pass.wanted = &last_row;
    pass.wanted_count = 1;
    CHECK_INT(rn_cost_fitting_rows(session, RN_PASS_CHUNKS, 1000000), 64);
    measure_stage(session, &pass, 0, 250000);
    measure_stage(session, &pass, 1, 10000);
    CHECK_INT(rn_cost_fitting_rows(session, RN_PASS_CHUNKS, 1001000), 256);
}

int main(void)
{
    static retnet_model model;
    static retnet_session session;
    model.config.layers = LAYERS;
    session.model = &model;
    session.layer_weight = 100;
    session.retention_weight = 50;
    session.layout.rows = 2048;
    test_bounds(&session);
    test_pace(&session);
    test_hiccups(&session);
    test_last_layer(&session);
    test_wanted_rows(&session);
    memset(session.costs, 0, sizeof session.costs);
    model.config.layers = 1;
    test_single_layer(&session);
    return test_failures != 0;
}
