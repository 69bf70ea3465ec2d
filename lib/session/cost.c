#include "session/session.h"

/* What stages cost, from the time that earlier ones took. A cost holds for the rows and chunks that it was measured
 * with. Fewer should cost at most as much, and more at most in proportion, so that every measurement bounds all others;
 * but kernels change with the number of rows, and what was measured is better than a bound. */

/* Few enough kinds that there is room for the costs of all that come again. */
static uint32_t rounded(uint32_t number)
{
    uint32_t step = number <= 8 ? 1 : number <= RN_CHUNK ? 8 : RN_CHUNK;
    return rn_divide_up(number, step) * step;
}

static rn_extent extent_of(uint32_t rows, uint32_t chunks)
{
    return (rn_extent){.rows = rounded(rows), .chunks = rounded(chunks)};
}

/* Of rows that are worked on behind the states. In fewer kinds, since there are these for every number of rows: they
 * are a part of the stage's work. */
static uint32_t rounded_behind(uint32_t rows)
{
    uint32_t most = rows ? RN_CHUNK : 0;
    while (most < rows) most *= 2;
    return most;
}

/* Some differ in their output only. */
static rn_pass_class layer_class(rn_pass_class class)
{
    return class == RN_PASS_SCORED ? RN_PASS_CHUNKS : class == RN_PASS_TOKEN ? RN_PASS_STEPS : class;
}

/* Of so many tokens of one sequence. Where there is no other layer, the last one's first stage says what is known. */
static rn_extent dense(const retnet_session *session, rn_pass_class class, uint32_t rows)
{
    if (layer_class(class) == RN_PASS_STEPS) return extent_of(rows, 0);
    rn_extent extent = extent_of(rows, rn_divide_up(rows, RN_CHUNK));
    extent.last = session->model->config.layers == 1;
    return extent;
}

static uint64_t bound(const rn_cost *cost, rn_extent extent)
{
    double more = (double)extent.rows / cost->extent.rows, least = 1;
    if (more > least) least = more;
    more = cost->extent.chunks ? (double)extent.chunks / cost->extent.chunks : 1;
    if (more > least) least = more;
    return (uint64_t)((double)cost->ns * least) + 1;
}

static uint64_t expected_ns(const retnet_session *session, rn_pass_class class, bool output, rn_extent extent)
{
    uint64_t least = 0;
    if (!output) class = layer_class(class);
    for (uint32_t i = 0; i < RN_MAX_COSTS; i++) {
        const rn_cost *cost = &session->costs[i];
        if (cost->extent.rows == 0 || cost->class != class || cost->output != output) continue;
        if (rn_extent_equal(cost->extent, extent)) return cost->ns;
        if (cost->extent.last && (cost->extent.last != extent.last || cost->extent.behind < extent.behind)) continue;
        uint64_t ns = bound(cost, extent);
        if (least == 0 || ns < least) least = ns;
    }
    return least;
}

/* In bytes that are read, which goes for multiplications as well. */
static uint64_t retention_weight(const retnet_session *session, rn_pass_class class, uint32_t rows)
{
    uint64_t states =
        layer_class(class) == RN_PASS_STEPS ? 2ull * rounded(rows) * rn_model_layer_state_bytes(session->model) : 0;
    return session->retention_weight + states;
}

static uint64_t feed_forward_weight(const retnet_session *session)
{
    return session->layer_weight - session->retention_weight;
}

rn_extent rn_cost_extent(const retnet_session *session, const rn_pass *pass, uint32_t stage)
{
    if (rn_pass_is_output(session, pass, stage)) return extent_of(rn_pass_next_outputs(session, pass), 0);
    rn_extent extent = extent_of(pass->rows, pass->chunks);
    if (stage / 2 + 1 < session->model->config.layers) return extent;
    uint32_t rows = rn_pass_window(pass).rows;
    if (rows == pass->rows) return extent;
    if (stage % 2)
        extent = extent_of(rows, 0);
    else
        extent.behind = rounded_behind(rows);
    extent.last = 1 + stage % 2;
    return extent;
}

uint64_t rn_cost_stage_weight(const retnet_session *session, const rn_pass *pass, uint32_t stage)
{
    if (rn_pass_is_output(session, pass, stage)) return 1;
    return stage % 2 ? feed_forward_weight(session) : retention_weight(session, pass->class, pass->rows);
}

static uint64_t layer_weight(const retnet_session *session, rn_pass_class class, uint32_t rows)
{
    return retention_weight(session, class, rows) + feed_forward_weight(session);
}

static uint64_t share(uint64_t ns, uint64_t part, uint64_t whole)
{
    return (uint64_t)((double)ns * (double)part / (double)whole) + 1;
}

uint64_t rn_cost_stage_ns(const retnet_session *session, const rn_pass *pass, uint32_t stage)
{
    rn_extent extent = rn_cost_extent(session, pass, stage);
    if (rn_pass_is_output(session, pass, stage)) return expected_ns(session, pass->class, true, extent);
    uint64_t layer = expected_ns(session, pass->class, false, extent);
    return layer ? share(layer, rn_cost_stage_weight(session, pass, stage),
                         layer_weight(session, pass->class, pass->rows))
                 : 0;
}

uint64_t rn_cost_layer_stage_ns(const retnet_session *session, rn_pass_class class, uint32_t rows)
{
    uint64_t layer = expected_ns(session, class, false, dense(session, class, rows));
    uint64_t first = retention_weight(session, class, rows), second = feed_forward_weight(session);
    return layer ? share(layer, first > second ? first : second, first + second) : 0;
}

uint64_t rn_cost_pass_ns(const retnet_session *session, rn_pass_class class, uint32_t rows, uint32_t outputs)
{
    uint64_t layer = expected_ns(session, class, false, dense(session, class, rows));
    uint64_t output = outputs ? expected_ns(session, class, true, extent_of(outputs, 0)) : 0;
    if (layer == 0 || (outputs && output == 0)) return 0;
    return layer * session->model->config.layers + output;
}

uint32_t rn_cost_fitting_rows(const retnet_session *session, rn_pass_class class, uint64_t budget_ns)
{
    uint32_t rows = session->layout.rows;
    if (rn_cost_layer_stage_ns(session, class, RN_CHUNK) == 0) return RN_CHUNK;
    while (rows > RN_CHUNK && rn_cost_layer_stage_ns(session, class, rows) > budget_ns) rows -= RN_CHUNK;
    return rows / RN_CHUNK * RN_CHUNK;
}

/* The entry for such stages; NULL: there is none. */
static rn_cost *find_cost(retnet_session *session, rn_pass_class class, bool output, rn_extent extent)
{
    for (uint32_t i = 0; i < RN_MAX_COSTS; i++) {
        rn_cost *cost = &session->costs[i];
        if (rn_extent_equal(cost->extent, extent) && cost->class == class && cost->output == output) return cost;
    }
    return NULL;
}

static rn_cost *add_cost(retnet_session *session, rn_pass_class class, bool output, rn_extent extent)
{
    rn_cost *cost = &session->costs[session->next_cost++ % RN_MAX_COSTS];
    *cost = (rn_cost){.class = class, .output = output, .extent = extent};
    return cost;
}

static rn_pass_class segment_class(const rn_segment *segment)
{
    return segment->output ? segment->class : layer_class(segment->class);
}

/* The weight that the segment's cost is for. */
static uint64_t whole_of(const retnet_session *session, const rn_segment *segment)
{
    return segment->output ? 1 : layer_weight(session, segment_class(segment), segment->extent.rows);
}

static void learn(retnet_session *session, const rn_segment *segment, uint64_t ns)
{
    rn_pass_class class = segment_class(segment);
    rn_cost *cost = find_cost(session, class, segment->output, segment->extent);
    if (!cost) cost = add_cost(session, class, segment->output, segment->extent);
    ns = share(ns, whole_of(session, segment), segment->weight);
    /* States that were filled or copied beside it only make it look dearer: good enough until there is something
     * better. */
    if (cost->pure && !segment->pure) return;
    if (cost->pure != segment->pure) cost->times = 0;
    cost->pure = segment->pure;
    cost->least_ns = cost->times ? rn_min_u64(cost->least_ns, ns) : ns;
    /* The first time counts for little: memory is touched for the first time, and clocks are low. */
    bool fresh = cost->times < 2;
    cost->times = rn_min_u32(cost->times + 1, 2);
    cost->ns = fresh ? ns : (cost->ns + ns) / 2;
}

/* A device with little to do slows down, to a quarter and less, and what was measured before is then worth nothing. So
 * what the slice took against what its like took last goes for all other stages too. But no stage is thought faster
 * than it ever was: what was slow for once, alone, and is as it was again, says nothing about others. */
static void follow_pace(retnet_session *session, const rn_segment *segments, const uint64_t *ns, uint32_t count)
{
    const uint64_t enough_ns = 200000; /* less is mostly chance */
    uint64_t expected = 0, took = 0;
    for (uint32_t i = 0; i < count; i++) {
        const rn_segment *segment = &segments[i];
        if (segment->weight == 0) continue;
        const rn_cost *cost = find_cost(session, segment_class(segment), segment->output, segment->extent);
        if (!cost || cost->times < 2 || cost->pure != segment->pure) continue;
        expected += share(cost->ns, segment->weight, whole_of(session, segment));
        took += ns[i];
    }
    if (expected < enough_ns || took < enough_ns) return;
    for (uint32_t i = 0; i < RN_MAX_COSTS; i++) {
        rn_cost *cost = &session->costs[i];
        uint64_t ns = (uint64_t)((double)cost->ns * (double)took / (double)expected) + 1;
        cost->ns = ns > cost->least_ns ? ns : cost->least_ns;
    }
}

void rn_cost_learn(retnet_session *session, const rn_segment *segments, const uint64_t *ns, uint32_t count)
{
    follow_pace(session, segments, ns, count);
    for (uint32_t i = 0; i < count; i++)
        if (segments[i].weight) learn(session, &segments[i], ns[i]);
}
