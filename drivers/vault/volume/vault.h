/* The vault: volumes, snapshots and clones over a box and a store. Thread-safe; every call may
 * block. control/ and the NFS server stand on this header alone. */
#pragma once
#include "drivers/vault/store/store.h"

struct vault;
struct vault_options {
    struct store_options store;
    uint64_t layer_bytes;   /* the active layer is swapped above this; 0: 1 GiB */
    uint64_t frozen_bytes;  /* writers wait above this much unsealed data; 0: 8 GiB */
    uint64_t debt_bytes;    /* unsynced writes above which writers wait; 0: 64 MiB */
    uint64_t wait_ms;       /* how long they wait before BUSY; 0: 15,000 */
    uint64_t reserve_bytes; /* of the box, so that deleting works on a full disk; 0: 16 MiB */
    uint64_t journal_bytes; /* names get LIMIT above this much since a seal; 0: 256 MiB */
    unsigned seal_threads;  /* volumes sealed at once; 0: 1 */
    bool seal_by_hand;      /* tests: nothing is sealed before vault_seal */
    /* The block check: whether a record that a seal takes may be right, and why not. head: records
     * 0 and 1 of its file, zeros where there is none, NULL when record 0 is a hole; size: the
     * file's. Called from our threads. What it refuses is stored all the same, told in the log and
     * kept with the state. NULL: none. */
    bool (*check)(void *arg, const char *path, uint64_t size, const uint8_t *head, uint64_t record,
                  const uint8_t *bytes, struct err *why);
    void *check_arg;
};
/* box: a local folder, made when missing. io is borrowed and must outlive the vault. Recovers,
 * sweeps, goes on sealing. What is damaged stays closed, a landing volume with all its clones:
 * listed, with the reason; nothing of it is changed, and calls for it say CORRUPT. A full box opens
 * and deletes; writes get NO_SPACE until it has room for its reserve. */
struct vault *vault_open(const char *box, struct io *io, const struct vault_options *options,
                         struct err *err) MUST;
/* Orderly: commits what was written. Sealing that is under way is given up and begun again later.
 */
void vault_close(struct vault *vault);
OWN_DEFINE(vault, struct vault, vault_close);
/* For tests: ends as a crash would, nothing is put in order. */
void vault_abandon(struct vault *vault);
/* How long writers were held by the latest snapshot. */
uint64_t vault_pause_us(struct vault *vault);
/* Changes with each start: the write verifier. */
uint64_t vault_verifier(const struct vault *vault);

/* ---- volumes, snapshots, clones: names as drivers/driver.h has them; a clone's name is unique
 * within its landing volume. Where a volume is asked for, "LANDING/CLONE" names a clone: it has
 * snapshots and clones like any other. ---- */
struct vault_volume_info {
    char name[128], landing[128]; /* landing "" for landing volumes */
    uint64_t id, created_us;
    bool clone;
    char origin[128]; /* first source snapshot, "" live area only */
    uint64_t origin_count;
    uint64_t logical_bytes, stored_bytes,
        unsealed_bytes; /* of a landing volume: its family's stored */
    uint64_t users;     /* open handles */
    /* Why it takes no changes (a full box: until there is room), or (damaged: CORRUPT) nothing at
     * all, until the box is opened anew; "" when all is well. */
    char closed[400];
    bool damaged;
};
bool vault_volume_create(struct vault *vault, const char *name, struct err *err) MUST;
bool vault_volume_info(struct vault *vault, const char *name, struct vault_volume_info *ret,
                       struct err *err) MUST;
/* Its number alone; nothing is added up for it. */
bool vault_volume_id(struct vault *vault, const char *name, uint64_t *ret_id, struct err *err) MUST;
/* By creation; damaged ones last, clones of them too (by their path). */
struct vault_volume_info *vault_volume_list(struct vault *vault, size_t *ret_count, struct err *err)
    MUST;
/* PRECONDITION while it has snapshots or clones. */
bool vault_volume_drop(struct vault *vault, const char *name, struct err *err) MUST;

struct vault_snapshot_info {
    char name[128];
    uint64_t id, sequence, created_us;
    bool sealed;
    bool copied;          /* a second store has it, read back there; known half a minute later */
    struct hash identity; /* once sealed */
    /* Once sealed: records in it that the block check refused, when they were written or since. */
    uint64_t bad_records;
    uint64_t locked_until_boot_ms;
    /* UINT64_MAX: not known yet. unique: what deleting it alone would free; asked for here, counted
     * soon after. */
    uint64_t logical_bytes, stored_bytes, unique_bytes;
    uint32_t clones;
};
/* Of all or of none; one instant for all (writers of the set are held together). Durable on the box
 * when it returns. */
bool vault_snapshot_create(struct vault *vault, const char *const *volumes, size_t count,
                           const char *name, struct err *err) MUST;
struct vault_snapshot_info *vault_snapshot_list(struct vault *vault, const char *volume,
                                                size_t *ret_count, struct err *err) MUST;
/* Clones of it live on: its data goes with the last of them. PRECONDITION while locked. */
bool vault_snapshot_drop(struct vault *vault, const char *volume, const char *name, struct err *err)
    MUST;
/* Only extends: PRECONDITION for an earlier time than it has. */
bool vault_snapshot_lock(struct vault *vault, const char *volume, const char *name,
                         uint64_t until_boot_ms, struct err *err) MUST;
/* Until it is sealed; TIMEOUT. 0 only asks. */
bool vault_snapshot_wait(struct vault *vault, const char *volume, const char *name,
                         uint64_t timeout_ms, bool *ret_sealed, struct err *err) MUST;
bool vault_reclaimable(struct vault *vault, const char *volume, const char *const *names,
                       size_t count, uint64_t *ret_now, uint64_t *ret_later, struct err *err) MUST;

struct vault_part {
    const char *snapshot;  /* NULL: the live area */
    const char *path, *to; /* to NULL: as path; folders are made */
};
/* part_count 0: the whole snapshot. */
bool vault_clone_create(struct vault *vault, const char *volume, const char *name,
                        const char *snapshot, const struct vault_part *parts, size_t part_count,
                        struct err *err) MUST;
struct vault_volume_info *vault_clone_list(struct vault *vault, const char *volume,
                                           size_t *ret_count, struct err *err) MUST;
bool vault_clone_drop(struct vault *vault, const char *volume, const char *name, struct err *err)
    MUST;
/* snapshot or clone; NULL text removes. */
bool vault_note_put(struct vault *vault, const char *volume, const char *snapshot,
                    const char *clone, const char *text, struct err *err) MUST;
char *vault_note_get(struct vault *vault, const char *volume, const char *snapshot,
                     const char *clone, struct err *err) MUST;

/* Seals what is frozen now and waits for it. */
bool vault_seal(struct vault *vault, const char *volume, struct err *err) MUST;
/* Freezes the active layer without a snapshot (what a full layer does by itself). */
bool vault_swap(struct vault *vault, const char *volume, const char *clone, struct err *err) MUST;
bool vault_thin(struct vault *vault, const char *volume, uint64_t *ret_freed, struct err *err) MUST;
struct store *vault_store(struct vault *vault);

/* ---- files: a view is the live area (both NULL), a snapshot (read-only: DENIED) or a clone ----
 */
struct view;
struct view *view_open(struct vault *vault, const char *volume, const char *snapshot,
                       const char *clone, struct err *err) MUST;
void view_close(struct view *view);
OWN_DEFINE(view, struct view, view_close);
uint64_t view_volume_id(const struct view *view);
bool view_is_read_only(const struct view *view);
/* Files, folders and links in it. */
uint64_t view_files(struct view *view);

/* What is known of a file; root omitted. */
struct view_file {
    uint64_t file, parent; /* parent: where it was found; of view_stat 0 when that is not known */
    uint32_t generation;
    uint8_t kind; /* enum inode_kind; never LINK */
    uint16_t mode;
    uint32_t uid, gid, links;
    uint64_t size, used_bytes, mtime_us, ctime_us, atime_us;
};
enum { VIEW_ROOT = INODE_ROOT };
/* NOT_FOUND also for a file of another generation (generation 0: any). */
bool view_stat(struct view *view, uint64_t file, uint32_t generation, struct view_file *ret,
               struct err *err) MUST;
bool view_lookup(struct view *view, uint64_t folder, const char *name, struct view_file *ret,
                 struct err *err) MUST;
/* Entries after `cookie` (0: from the start), by cookie; at most max. fn false stops. */
typedef bool view_entry(void *arg, uint64_t cookie, const char *name, const struct view_file *file);
bool view_list(struct view *view, uint64_t folder, uint64_t cookie, view_entry *fn, void *arg,
               bool *ret_end, struct err *err) MUST;
/* By path, '/' between, relative to the root; "" is the root. Links are not followed. */
bool view_find(struct view *view, const char *path, struct view_file *ret, struct err *err) MUST;

/* A file or folder before and after a change, as one instant saw them: nothing came between. file
 * 0: it is not there, or was not looked at. */
struct view_change {
    struct view_file before, after;
};
/* ret_change of every call may be NULL. It is filled on failure too, as far as the call came: all
 * refusals for what names and files are (see below) have it, BUSY, DENIED and INVALID names have
 * not. A change of a folder's entries makes its mtime and ctime later, one of a file's content its
 * own; every other change its ctime: by a microsecond at least, whatever the clock says. Only a
 * client that sets an mtime may put that back. */

/* Who asks, for replayed requests: the same client, xid and arguments get the first answer again,
 * also after a crash when it was given. client 0: nobody. */
struct view_caller {
    uint64_t client;
    uint32_t xid;
    uint32_t uid, gid;
};
struct view_attributes {
    bool set_mode, set_uid, set_gid, set_size, set_mtime, set_atime;
    bool mtime_now, atime_now; /* with set_: the time of the change itself */
    uint16_t mode;
    uint32_t uid, gid;
    uint64_t size, mtime_us, atime_us;
    bool guard; /* view_set: only while the file's ctime is guard_ctime_us */
    uint64_t guard_ctime_us;
    /* view_create of a file whose name is there. exclusive: fine when it was made with that
     * verifier and not set since, whoever asks; unchecked: fine when it is a file, which gets the
     * size, and no other attribute, as open(2) has it. Else EXISTS. */
    bool exclusive, unchecked;
    uint64_t verifier;
};
/* Refusals: NOT_FOUND no such file, folder or name; PRECONDITION a folder where there may be none,
 * or none where there must be one, and in view_set the guard and nothing else; EXISTS the name is
 * there, or the folder that should go is not empty; INVALID a name that may not be, a folder into
 * itself, a size for what has none; LIMIT. Whether the caller may is for others to know. */
bool view_create(struct view *view, const struct view_caller *caller, uint64_t folder,
                 const char *name, uint8_t kind, const char *target,
                 const struct view_attributes *attributes, struct view_file *ret,
                 struct view_change *ret_folder, struct err *err) MUST;
/* A further name of a regular file (else UNSUPPORTED). Which name came first is not to be seen.
 * Nothing happens when both names of a rename are one file's. */
bool view_link(struct view *view, const struct view_caller *caller, uint64_t file, uint64_t folder,
               const char *name, struct view_file *ret, struct view_change *ret_folder,
               struct err *err) MUST;
/* Of a file with several names only that one goes. */
bool view_remove(struct view *view, const struct view_caller *caller, uint64_t folder,
                 const char *name, bool folder_wanted, struct view_change *ret_folder,
                 struct err *err) MUST;
bool view_rename(struct view *view, const struct view_caller *caller, uint64_t from_folder,
                 const char *from, uint64_t to_folder, const char *to, struct view_change *ret_from,
                 struct view_change *ret_to, struct err *err) MUST;
/* Durable when it returns; a new size included. */
bool view_set(struct view *view, const struct view_caller *caller, uint64_t file,
              const struct view_attributes *attributes, struct view_file *ret,
              struct view_change *ret_change, struct err *err) MUST;
bool view_readlink(struct view *view, uint64_t file, char *ret, size_t size, struct err *err) MUST;
/* Bytes read, fewer only at the end; -1. */
ssize_t view_read(struct view *view, uint64_t file, void *to, size_t size, uint64_t offset,
                  struct err *err) MUST;
/* stable: on disk when it returns. BUSY when the box or the store cannot keep up within wait_ms; IO
 * when a sync failed. */
bool view_write(struct view *view, uint64_t file, const void *from, size_t size, uint64_t offset,
                bool stable, struct view_change *ret_change, struct err *err) MUST;
/* A commit changes no attribute: before and after are one moment. */
bool view_commit(struct view *view, uint64_t file, struct view_change *ret_change, struct err *err)
    MUST;
