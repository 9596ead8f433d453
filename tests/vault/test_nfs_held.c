/* A disk that holds one WRITE holds up neither the calls behind it nor other clients: what waits
 * for that volume waits alone. */
#include "agent/base/sys_hold.h"
#include "tests/lib/nfs_raw.h"
#include "tests/vault/nfs_world.h"
#include <sched.h>

enum { BYTES = 8192, CALL_GETATTR = 1, CALL_READ = 6, CALL_WRITE = 7, STATUS_AT = 24 };

/* A file of a volume of its own. */
struct shown {
    uint64_t volume, file;
    uint32_t generation;
};

static struct shown show(struct nfs_world *n, const char *volume)
{
    const struct view_attributes all = {.set_mode = true, .mode = 0666};
    struct view_file file;
    char bytes[BYTES];
    AUTO(view) struct view *view = world_view(&n->w, volume, NULL, NULL);
    memset(bytes, 'x', sizeof bytes);
    world_ok(&n->w, view_create(view, NULL, VIEW_ROOT, "f", INODE_FILE, NULL, &all, &file, NULL,
                                &n->w.err));
    world_ok(&n->w, view_write(view, file.file, bytes, sizeof bytes, 0, true, NULL, &n->w.err));
    return (struct shown){view_volume_id(view), file.file, file.generation};
}

static void ask(int fd, uint32_t xid, uint32_t procedure, const struct shown *at)
{
    enum { HANDLE = 4 + HANDLE_BYTES, WRITE = HANDLE + 8 + 12 };
    static uint8_t args[WRITE + BYTES], call[RAW_HEAD + sizeof args];
    const struct handle handle = {at->volume, at->file, at->generation};
    size_t len = HANDLE;
    memset(args, (int)xid, sizeof args);
    memset(args + HANDLE, 0, 8); /* from the beginning */
    raw_put(args, HANDLE_BYTES);
    handle_encode(&handle, args + 4);
    raw_put(args + HANDLE + 8, BYTES);
    if (procedure == CALL_READ)
        len += 12;
    if (procedure == CALL_WRITE) {
        raw_put(args + HANDLE + 12, UNSTABLE);
        raw_put(args + HANDLE + 16, BYTES);
        len = sizeof args;
    }
    cr_assert(raw_send(fd, call, raw_call(call, xid, NFS_PROGRAM, 3, procedure, args, len)));
}

/* Replies of calls `from` to `to`, in any order, all well. */
static void take(int fd, uint32_t from, uint32_t to)
{
    static uint8_t reply[BYTES + 1000];
    uint64_t missing = (UINT64_C(2) << (to - from)) - 1;
    while (missing) {
        size_t len = raw_reply(fd, reply, sizeof reply);
        cr_assert_geq(len, STATUS_AT + 4, "no reply, of %u on missing: %llx", from,
                      (unsigned long long)missing);
        uint32_t xid = raw_get(reply);
        cr_assert(xid >= from && xid <= to && missing >> (xid - from) & 1, "a reply to %u", xid);
        cr_assert_eq(raw_get(reply + STATUS_AT), NFS3_OK);
        missing &= ~(UINT64_C(1) << (xid - from));
    }
}

static void ask_three(int fd, uint32_t xid, const struct shown *at)
{
    ask(fd, xid, CALL_READ, at);
    ask(fd, xid + 1, CALL_GETATTR, at);
    ask(fd, xid + 2, CALL_WRITE, at);
}

Test(nfs_held, a_write_that_the_disk_holds_holds_up_only_its_volumes_writes, .timeout = 120)
{
    enum { MANY = 30 };
    struct nfs_world n;
    nfs_world_begin(&n);
    world_ok(&n.w, vault_volume_create(n.w.vault, "o", &n.w.err));
    struct shown held = show(&n, "v"), other = show(&n, "o");
    int one = raw_connect(n.port, 0), two = raw_connect_as(n.port, 0, 2);
    sys_hold(SYS_HOLD_WRITE, "layer");
    ask(one, 1, CALL_WRITE, &held);
    while (sys_held() == 0)
        sched_yield();
    sys_hold_no_more();
    ask(one, 2, CALL_GETATTR, &held);
    ask_three(one, 3, &other);
    ask(one, 6, CALL_READ, &held);
    take(one, 2, 6);
    ask(two, 9, CALL_WRITE, &held);
    ask_three(two, 2, &other);
    take(two, 2, 4);
    for (uint32_t i = 0; i < MANY; i++)
        ask(two, 10 + i, CALL_WRITE, &held);
    ask_three(two, 5, &other);
    take(two, 5, 7);
    sys_hold(0, NULL);
    take(one, 1, 1);
    take(two, 9, 9 + MANY);
    close(one);
    close(two);
    nfs_world_end(&n);
}
