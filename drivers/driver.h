/* Storage drivers: one table, one contract. tests/drivers/test_contract.c runs every promise made
 * here against every driver of the registry. */
#pragma once
#include "agent/base/own.h"
#include "drivers/area/area.h"
#include <stdint.h>

/* The truth for planners; the contract suite checks that flag and function agree. */
enum driver_can {
    DRIVER_CAN_SNAPSHOT = 1 << 0,
    DRIVER_CAN_CLONE = 1 << 1,   /* a whole snapshot, writable, its writes never reach it */
    DRIVER_CAN_COMPOSE = 1 << 2, /* a clone of chosen files of several snapshots or the live area */
    DRIVER_CAN_LOCK = 1 << 3,
    DRIVER_CAN_DIFF = 1 << 4,
    DRIVER_CAN_SET_ATOMIC = 1 << 5, /* a set of volumes at one instant */
    DRIVER_CAN_VOLUME_CREATE = 1 << 6,
    DRIVER_CAN_LOCAL_PATH = 1 << 7,   /* areas are directories of this host */
    DRIVER_IS_SLOW_SNAPSHOT = 1 << 8, /* minutes, not milliseconds: "pre" covers logs only */
    DRIVER_NEEDS_QUIET = 1 << 9,      /* a point in time only while nobody writes (reflink) */
    DRIVER_SEALS_LATER = 1 << 10,     /* a snapshot's durability grows after it was taken */
};

enum {
    DRIVER_NAME_MAX = 128, /* volume, snapshot and clone names; rules: driver_name_is_valid */
    DRIVER_SET_MAX = 16,   /* volumes of one snapshot */
    DRIVER_HANDLE_MAX = 64,
};

#define DRIVER_UNKNOWN UINT64_MAX /* space that the storage does not tell: unknown is not 0 */

struct driver_space {
    uint64_t logical; /* bytes as files show them */
    uint64_t stored;  /* bytes on disk */
    uint64_t unique;  /* bytes that deleting this one thing would free */
};

struct driver_volume_info {
    char name[DRIVER_NAME_MAX];
    uint64_t capacity, available;
    struct driver_space space;
    char closed[400]; /* why it takes no changes, as far as the storage tells; "" */
};

enum driver_durability { DURABILITY_LOCAL, DURABILITY_SEALED, DURABILITY_COPIED };

struct driver_snapshot_info {
    char volume[DRIVER_NAME_MAX];
    char name[DRIVER_NAME_MAX];
    char id[DRIVER_HANDLE_MAX]; /* the storage's own, for cross-checks; never used again */
    uint64_t created_us;        /* UTC */
    enum driver_durability durability;
    /* Blocks of it that the storage itself found damaged as it took them, or before it was `sealed`
     * where it seals later. 0: none, or it does not look; it never stands for a proof. */
    uint64_t bad_blocks;
    uint64_t locked_until_boot_ms; /* 0: not locked */
    uint32_t clone_count;
    struct driver_space space;
};

struct driver_clone_info {
    char volume[DRIVER_NAME_MAX];
    char name[DRIVER_NAME_MAX];
    char id[DRIVER_HANDLE_MAX];
    char snapshot[DRIVER_NAME_MAX]; /* first source; "" for one composed of the live area alone */
    uint64_t created_us;
    struct driver_space space;
};

/* One file of a composed clone. */
struct driver_part {
    const char *snapshot; /* NULL: the live area */
    const char *path;     /* in the source, relative */
    const char *to;       /* in the clone, relative; NULL: as path */
};

/* What happened to a file of a live area. */
enum driver_event_kind {
    DRIVER_FILE_CHANGED, /* made, longer, or gone: more may come */
    DRIVER_FILE_ARRIVED, /* renamed to this path, or quiet after it grew: it may be whole */
};
struct driver_event {
    enum driver_event_kind kind;
    char volume[DRIVER_NAME_MAX];
    char path[AREA_PATH_MAX];
};

/* Work that goes on in the storage: poll it; it survives a restart of the agent because the text
 * is all there is to it. Empty text: the work was finished within the call. */
struct driver_handle {
    char text[DRIVER_HANDLE_MAX];
};

struct driver_instance; /* a driver's own state; opaque here */

struct driver_option {
    const char *key, *value;
};

/* The table a driver fills. Names and arguments were checked by driver.c; errors get their context
 * there. Every function may block and may be called from several worker threads at once. */
struct driver {
    const char *name;
    uint32_t can;

    /* required */
    struct driver_instance *(*open)(const struct driver_option *options, size_t count,
                                    struct err *err);
    void (*close)(struct driver_instance *d);
    bool (*volume_info)(struct driver_instance *d, const char *volume,
                        struct driver_volume_info *ret, struct err *err);
    /* Where the files of a volume's live area (both NULL), a snapshot or a clone can be read. */
    struct area *(*area)(struct driver_instance *d, const char *volume, const char *snapshot,
                         const char *clone, struct err *err);
    /* All or nothing under that name for each volume of the set, also under kill -9: a name listed
     * is whole. ret_atomic: the set is one instant. */
    bool (*snapshot_create)(struct driver_instance *d, const char *const *volumes, size_t count,
                            const char *name, struct driver_handle *ret_handles, bool *ret_atomic,
                            struct err *err);
    /* Owned array of *ret_count rows (own_free); exactly what exists, oldest first. */
    struct driver_snapshot_info *(*snapshot_list)(struct driver_instance *d, const char *volume,
                                                  size_t *ret_count, struct err *err);
    /* NOT_FOUND the second time; BUSY while a clone of a driver without COMPOSE hangs on it. */
    bool (*snapshot_delete)(struct driver_instance *d, const char *volume, const char *name,
                            struct driver_handle *ret_handle, struct err *err);
    /* Removes what an interrupted call left; returns how many things went. Called at boot. */
    bool (*sweep)(struct driver_instance *d, uint32_t *ret_swept, struct err *err);

    /* optional: NULL when absent, and then the flag is absent too */
    bool (*volume_create)(struct driver_instance *d, const char *volume, struct err *err);
    /* part_count 0: the whole snapshot. */
    bool (*clone_create)(struct driver_instance *d, const char *volume, const char *name,
                         const char *snapshot, const struct driver_part *parts, size_t part_count,
                         struct driver_handle *ret_handle, struct err *err);
    struct driver_clone_info *(*clone_list)(struct driver_instance *d, const char *volume,
                                            size_t *ret_count, struct err *err);
    bool (*clone_delete)(struct driver_instance *d, const char *volume, const char *name,
                         struct driver_handle *ret_handle, struct err *err);
    /* The same though somebody uses it, where clone_delete then says BUSY and names them. */
    bool (*clone_wrest)(struct driver_instance *d, const char *volume, const char *name,
                        struct driver_handle *ret_handle, struct err *err);
    /* How a host reaches a clone, or, name NULL, the live area: "path:/srv/x",
     * "nfs:HOST:/EXPORT" (an IPv6 HOST in brackets) with "?port=N" behind it when NFS and MOUNT
     * answer elsewhere than on 2049, or a text of the driver's own. At most size bytes. */
    bool (*clone_mount)(struct driver_instance *d, const char *volume, const char *name, char *ret,
                        size_t size, struct err *err);
    bool (*snapshot_lock)(struct driver_instance *d, const char *volume, const char *name,
                          uint64_t until_boot_ms, struct err *err);
    /* Where an area lies below what the storage's option `reader` shows (README.md): a relative
     * path. NOT_FOUND is left to who reads. */
    bool (*area_path)(struct driver_instance *d, const char *volume, const char *snapshot,
                      const char *clone, char *ret, size_t size, struct err *err);
    /* Small notes kept with the object itself (tags, holds, leases; promise 6), JSON text of at
     * most 64 KiB, replaced atomically. clone NULL: the snapshot's. NOT_FOUND: none yet. */
    bool (*note_put)(struct driver_instance *d, const char *volume, const char *snapshot,
                     const char *clone, const char *text, struct err *err);
    char *(*note_get)(struct driver_instance *d, const char *volume, const char *snapshot,
                      const char *clone, struct err *err);
    /* Puts a folder (bytes NULL; one that is there is fine) or a small file, whole and durable,
     * into the live area, with the folders above: for hosts that do not mount it. */
    bool (*area_put)(struct driver_instance *d, const char *volume, const char *path,
                     const void *bytes, size_t len, struct err *err);
    /* Waits at most timeout_ms for what happens after *io_position (0: from now on, and returns at
     * once), and moves that on. ret_lost: some were not kept, look at everything. */
    bool (*watch)(struct driver_instance *d, uint64_t *io_position, uint64_t timeout_ms,
                  struct driver_event *ret, size_t max, size_t *ret_count, bool *ret_lost,
                  struct err *err);
    /* ret_done: finished well; error: finished badly. */
    bool (*poll)(struct driver_instance *d, const struct driver_handle *handle, bool *ret_done,
                 struct err *err);
};

/* What callers hold: a table with its instance. Only driver.c dereferences the table. */
struct driver_ref;
/* Opens by registry name; unknown names say the nearest known one. The option `reader` is taken out
 * for every driver: an URL (nfs://) of the same storage, through which areas are then read. */
struct driver_ref *driver_open(const char *driver_name, const struct driver_option *options,
                               size_t count, struct err *err) MUST;
/* For a storage that cannot be opened now: every call but these answers UNAVAILABLE with the
 * reason, until driver_open_again succeeds, from whatever thread; then it is as any other. */
struct driver_ref *driver_open_later(const char *driver_name, const char *why, struct err *err)
    MUST;
/* Opens and sweeps. One thread at a time. */
bool driver_open_again(struct driver_ref *d, const struct driver_option *options, size_t count,
                       uint32_t *ret_swept, struct err *err) MUST;
bool driver_is_away(const struct driver_ref *d);
void driver_close(struct driver_ref *d); /* NULL is fine */
OWN_DEFINE(driver, struct driver_ref, driver_close);

uint32_t driver_abilities(const struct driver_ref *d);
const char *driver_label(const struct driver_ref *d); /* for messages, never for decisions */
/* [A-Za-z0-9$#_][A-Za-z0-9$#_.-]*, below DRIVER_NAME_MAX, no ".." and no leading '.'. */
bool driver_name_is_valid(const char *name);

/* As the table's rows; UNSUPPORTED where the driver has none. Transient errors are marked by code.
 */
bool driver_volume_create(struct driver_ref *d, const char *volume, struct err *err) MUST;
bool driver_volume_info(struct driver_ref *d, const char *volume, struct driver_volume_info *ret,
                        struct err *err) MUST;
struct area *driver_area(struct driver_ref *d, const char *volume, const char *snapshot,
                         const char *clone, struct err *err) MUST;
/* The same, and all that is then read of it, ends with CANCELLED once the question is answered with
 * true, within a second also where a server hangs (NFS; a local call that hangs cannot be ended).
 * It is asked from several threads until the area is closed. */
struct area *driver_area_until(struct driver_ref *d, const char *volume, const char *snapshot,
                               const char *clone, bool (*cancelled)(void *arg), void *arg,
                               struct err *err) MUST;
bool driver_snapshot_create(struct driver_ref *d, const char *const *volumes, size_t count,
                            const char *name, struct driver_handle *ret_handles, bool *ret_atomic,
                            struct err *err) MUST;
struct driver_snapshot_info *driver_snapshot_list(struct driver_ref *d, const char *volume,
                                                  size_t *ret_count, struct err *err) MUST;
bool driver_snapshot_delete(struct driver_ref *d, const char *volume, const char *name,
                            struct driver_handle *ret_handle, struct err *err) MUST;
bool driver_sweep(struct driver_ref *d, uint32_t *ret_swept, struct err *err) MUST;
bool driver_clone_create(struct driver_ref *d, const char *volume, const char *name,
                         const char *snapshot, const struct driver_part *parts, size_t part_count,
                         struct driver_handle *ret_handle, struct err *err) MUST;
struct driver_clone_info *driver_clone_list(struct driver_ref *d, const char *volume,
                                            size_t *ret_count, struct err *err) MUST;
bool driver_clone_delete(struct driver_ref *d, const char *volume, const char *name,
                         struct driver_handle *ret_handle, struct err *err) MUST;
/* Deletes it though it is used; as driver_clone_delete where the storage tells no users. */
bool driver_clone_wrest(struct driver_ref *d, const char *volume, const char *name,
                        struct driver_handle *ret_handle, struct err *err) MUST;
bool driver_clone_mount(struct driver_ref *d, const char *volume, const char *name, char *ret,
                        size_t size, struct err *err) MUST;
bool driver_snapshot_lock(struct driver_ref *d, const char *volume, const char *name,
                          uint64_t until_boot_ms, struct err *err) MUST;
bool driver_note_put(struct driver_ref *d, const char *volume, const char *snapshot,
                     const char *clone, const char *text, struct err *err) MUST;
char *driver_note_get(struct driver_ref *d, const char *volume, const char *snapshot,
                      const char *clone, struct err *err) MUST;
bool driver_area_put(struct driver_ref *d, const char *volume, const char *path, const void *bytes,
                     size_t len, struct err *err) MUST;
bool driver_can_watch(const struct driver_ref *d);
bool driver_watch(struct driver_ref *d, uint64_t *io_position, uint64_t timeout_ms,
                  struct driver_event *ret, size_t max, size_t *ret_count, bool *ret_lost,
                  struct err *err) MUST;
bool driver_poll(struct driver_ref *d, const struct driver_handle *handle, bool *ret_done,
                 struct err *err) MUST;

/* Test hook: the nth driver call from now fails with `code` before (or, when after is set, after)
 * it reaches the driver. 0 = off. Returns calls made since. */
long driver_fault(long nth, enum err_code code, bool after);
