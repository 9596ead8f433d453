/* Fuzz target: what strangers send to MOUNT, and two texts that are read as hostile: handles and
 * networks. The first byte chooses. */
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "drivers/vault/nfs/handle.h"
#include "drivers/vault/nfs/mount.h"
#include <assert.h>
#include <endian.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 8192, SENT_MAX = 4096 };

/* What the server does for a program, here without one. */
bool nfsd_results_room(struct nfsd_call *call, size_t size, struct err *err)
{
    if (size > ROOM)
        return err_set(err, ERR_LIMIT, "too much");
    call->results_max = ROOM;
    return true;
}
void nfsd_call_is_slow(struct nfsd_call *call) { (void)call; }
void nfsd_call_is_large(struct nfsd_call *call) { (void)call; }
bool nfsd_call_may_wait(const struct nfsd_call *call, enum nfsd_share share)
{
    return call && share;
}

static bool stat_top(void *tree, uint64_t file, uint32_t generation, struct view_file *ret,
                     struct err *err)
{
    (void)tree, (void)generation, (void)err;
    *ret = (struct view_file){.file = file, .kind = INODE_DIRECTORY};
    return true;
}

static bool lookup(void *tree, uint64_t folder, const char *name, struct view_file *ret,
                   struct err *err)
{
    (void)tree;
    assert(*name && strlen(name) <= 255 && !strchr(name, '/') && !str_equal(name, ".") &&
           !str_equal(name, ".."));
    if (name[0] == 'x')
        return err_set(err, ERR_NOT_FOUND, "no such folder");
    *ret = (struct view_file){.file = folder + 1,
                              .kind = name[0] == 'f' ? INODE_FILE : INODE_DIRECTORY};
    return true;
}

static void close_tree(void *tree) { (void)tree; }

static bool find(void *arg, uint64_t id, const char *name, struct export *ret, struct err *err)
{
    (void)arg;
    if (name && !str_equal(name, "A") && !str_equal(name, "A/c") && !str_equal(name, "B"))
        return err_set(err, ERR_NOT_FOUND, "no volume");
    *ret = (struct export){.id = name ? strlen(name) : id};
    str_format(ret->path, sizeof ret->path, "/%s", name ? name : "A");
    return export_nets_parse(name && *name == 'B' ? "::/0 0.0.0.0/0" : "10.0.0.0/8", &ret->rule,
                             err);
}

static bool open_tree(void *arg, struct export *export, struct err *err)
{
    static const struct nfsd_tree_ops ops = {
        .stat = stat_top, .lookup = lookup, .close = close_tree};
    (void)arg, (void)err;
    export->ops = &ops;
    return true;
}

static bool each(void *arg, bool (*fn)(void *to, const struct export *export), void *to,
                 struct err *err)
{
    struct export export;
    return find(arg, 1, "A", &export, err) && (fn(to, &export), true);
}

static void ask(const uint8_t *data, size_t size, uint32_t procedure, bool stranger)
{
    struct err err = {0};
    struct exports_options options = {.find = find, .open = open_tree, .each = each};
    AUTO(exports) struct exports *exports = exports_new(&options, &err);
    struct nfsd_peer peer = {.address = {[10] = 0xff, 0xff, stranger ? 11 : 10}, .text = "peer"};
    uint8_t results[ROOM], args[SENT_MAX] = {0};
    memcpy(args, data, size);
    struct nfsd_call call = {.peer = &peer,
                             .rpc = {.procedure = procedure, .args = args, .args_len = size},
                             .results = results,
                             .results_max = NFSD_RESULTS_FEW};
    struct nfsd_program program = mount3_program(exports);
    enum rpc_accept accept = program.run(program.arg, &call);
    assert(call.results_len <= call.results_max && call.results_len % 4 == 0);
    assert(accept == RPC_SUCCESS || call.results_len == 0);
    uint32_t status = 1;
    if (procedure == 1 && accept == RPC_SUCCESS) {
        struct handle handle;
        memcpy(&status, results, sizeof status);
        assert(status != 0 || handle_decode(results + 8, HANDLE_BYTES, &handle));
    }
}

static void read_nets(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct export_rule rule = {0}, again = {0};
    AUTO(mem) char *text = own_strndup((const char *)data, size, &err);
    AUTO(str) struct str shown = {0};
    if (!text || !export_nets_parse(text, &rule, &err))
        return;
    for (size_t i = 0; i < rule.net_count; i++) {
        char net[EXPORT_NET_TEXT];
        export_net_text(&rule.nets[i], net);
        str_printf(&shown, "%s ", net);
    }
    assert(rule.net_count == 0 || export_nets_parse(shown.text, &again, &err));
    assert(memcmp(rule.nets, again.nets, rule.net_count * sizeof *rule.nets) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct handle handle;
    log_set_level(LOG_LEVEL_ERROR);
    if (size < 1 || size > SENT_MAX)
        return 0;
    if (data[0] == 'h') {
        uint8_t bytes[HANDLE_BYTES];
        if (handle_decode(data + 1, size - 1, &handle)) {
            handle_encode(&handle, bytes);
            assert(memcmp(bytes, data + 1, HANDLE_BYTES) == 0);
        }
    } else if (data[0] == 'n') {
        read_nets(data + 1, size - 1);
    } else {
        ask(data + 1, size - 1, data[0] & 7, data[0] & 8);
    }
    return 0;
}
