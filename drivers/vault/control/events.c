/* The op `events`: a poll that waits for what happens to files, and ends when its asker goes. */
#include "drivers/vault/volume/events.h"
#include "drivers/vault/control/call.h"
#include <poll.h>

enum { WAIT_MAX_MS = 30000, STEP_MS = 200, ROWS = 500 };

static bool asker_is_there(const struct call *call)
{
    struct pollfd one = {.fd = call->fd, .events = POLLRDHUP};
    return call->fd < 0 || poll(&one, 1, 0) == 0;
}

static bool put_event(json_t *rows, const struct vault_event *event, struct err *err)
{
    json_t *row = json_object();
    if (json_array_append_new(rows, row) != 0)
        return err_set(err, ERR_NO_MEMORY, "events");
    return wire_put_u64(row, "sequence", event->sequence, err) &&
           wire_put_u64(row, "time_us", event->time_us, err) &&
           json_put_text(row, "kind", vault_event_name(event->kind), err) &&
           wire_put_name(row, "volume", event->volume, err) &&
           wire_put_u64(row, "volume_id", event->volume_id, err) &&
           wire_put_u64(row, "file", event->file, err) &&
           json_put_u64(row, "file_kind", event->file_kind, err) &&
           wire_put_name(row, "path", event->path, err) &&
           (!event->from || wire_put_name(row, "from", event->from, err)) &&
           wire_put_u64(row, "size", event->size, err);
}

static size_t wait_for(const struct call *call, uint64_t after, uint64_t timeout_ms,
                       struct vault_event *rows, bool *ret_lost)
{
    size_t count = 0;
    *ret_lost = false;
    for (uint64_t waited_ms = 0; count == 0 && !*ret_lost; waited_ms += STEP_MS) {
        uint64_t left_ms = waited_ms < timeout_ms ? timeout_ms - waited_ms : 0;
        count = vault_events_wait(call->vault, after, left_ms < STEP_MS ? left_ms : STEP_MS, rows,
                                  ROWS, ret_lost);
        if (left_ms <= STEP_MS || !asker_is_there(call))
            break;
    }
    return count;
}

bool call_events(struct call *call, struct err *err)
{
    uint64_t timeout_ms = json_u64(call->ask, "timeout_ms"), last = vault_events_now(call->vault);
    json_t *answer = json_array();
    bool lost = false, waits = json_object_get(call->ask, "after");
    if (!json_put(call->answer, "events", answer, err))
        return false;
    AUTO(mem) struct vault_event *rows = own_alloc(ROWS * sizeof *rows, err);
    if (!rows)
        return false;
    uint64_t after = waits ? wire_get_u64(call->ask, "after") : last;
    size_t count = 0;
    if (waits)
        count =
            wait_for(call, after, timeout_ms < WAIT_MAX_MS ? timeout_ms : WAIT_MAX_MS, rows, &lost);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++)
        ok = put_event(answer, &rows[i], err);
    if (count > 0)
        last = rows[count - 1].sequence;
    else if (!lost)
        last = after;
    vault_events_free(rows, count);
    return ok && wire_put_u64(call->answer, "last", last, err) &&
           json_put_flag(call->answer, "lost", lost, err);
}
