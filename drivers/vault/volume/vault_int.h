/* What the files of this room share: the vault's state and who may touch it.
 *
 * Locks, in this order: vault.names (making and dropping volumes); volume.admin, by id (snapshots,
 * clones, drops of it); volume.write, by id (its write path and its journal's order); vault.lock
 * (everything in memory; never held over anything that may block). */
#pragma once
#include "drivers/vault/store/bad.h"
#include "drivers/vault/volume/journal.h"
#include "drivers/vault/volume/layer.h"
#include "drivers/vault/volume/record.h"
#include "drivers/vault/volume/tree.h"
#include "drivers/vault/volume/vault.h"
#include <pthread.h>

/* A layer of a volume, and the names as they were when it was frozen. */
struct slot {
    uint64_t sequence;
    struct layer *layer;
    bool frozen;
    bool committed;       /* frozen and on disk */
    bool decided;         /* whether it is a snapshot is known for good */
    bool told;            /* the layer is on disk and the journal told of it; false: untouched */
    bool registered;      /* the journal has it on disk */
    uint64_t bytes;       /* of data, once frozen */
    struct tree tree;     /* once frozen */
    struct bytes records; /* the journal's, made while it was the active layer */
    uint64_t *dirty;      /* files whose slot in the file table may have changed */
    size_t dirty_count, dirty_capacity;
};

struct snap {
    struct volume *volume;
    uint64_t sequence, id, created_us;
    char name[128];
    bool pending;  /* being made: not listed */
    bool hidden;   /* deleted by name, or never had one: its clones keep it */
    bool dropping; /* its deletion is being noted */
    bool sealed;
    bool row_hidden; /* the store knows that it is hidden */
    bool copied;     /* a second store has it, when last looked */
    struct root table;
    uint64_t slots, logical_bytes;
    uint64_t unique_bytes;
    bool unique_known;
    uint64_t bad_records;
    struct hash identity;
    uint64_t locked_until_boot_ms;
    uint32_t pins; /* clones that stand on it */
    uint32_t uses; /* views, and clones that read through it: tree and base stay loaded */
    bool loaded;
    struct tree tree;
    struct index base; /* once sealed and loaded: roots of its files */
    /* What its journal says of its set: while opening, and until all of them know it is whole. */
    struct record *set;
    bool whole;
};

struct root_item {
    struct item item;
    struct root root;
};
struct part_item {
    struct item item;
    uint8_t source;
    uint64_t below;
};

struct answer {
    uint64_t client, sum, file;
    uint32_t xid;
    uint8_t asked, how;
};
/* Of attributes the layer has its part of: UNDERWAY while that may not be on disk yet, UNSURE when
 * we were opened since and it may never have come there. */
enum answer_how { ANSWER_SURE, ANSWER_UNDERWAY, ANSWER_UNSURE };
enum { ANSWERS = 1024 };

enum { VOLUME_PATH = 512 };

struct volume {
    struct vault *vault;
    uint64_t id, family_id, created_us, start;
    char name[128], origin_name[128];
    char *path;             /* its folder on the box; shorter than VOLUME_PATH */
    struct volume *landing; /* itself, when it is one */
    bool clone, mapped;
    struct family *family; /* the landing volume's */
    struct snap *origins[RECORD_MEMBERS_MAX];
    size_t origin_count;
    struct index parts;   /* mapped, until ready */
    struct index watched; /* files that were extended, until they are quiet (events.c) */
    bool ready;           /* base says what lies below the layers; else the origins do */
    bool in_family;       /* it has a row in the store */
    bool making;          /* has its name, but is not there yet */
    bool gone, erased, ending, delisted;
    uint32_t refs;  /* calls and threads that are at it */
    uint64_t users; /* views */

    pthread_mutex_t admin, write;
    const struct view *claim; /* who alone may change the live area (claim.h); under write */
    struct journal *journal;
    _Atomic uint64_t last_number; /* of the journal's latest record */
    struct tree tree;
    struct index base; /* roots by file, as of `sealed` */
    struct root table;
    uint64_t table_slots, sealed;
    /* What the block check refused and is there as of `sealed`; its sealer's alone. */
    struct bad_list bad;
    bool bad_known;
    uint64_t bad_told;   /* the layer of which the log was told last */
    struct slot **slots; /* oldest first; the last is active */
    size_t slot_count, slot_capacity;
    struct slot *active; /* changes under volume.write and vault.lock: either is enough to read */
    struct slot *spare;  /* registered, to be the next */
    bool spare_wanted;   /* since the last swap: the keeper makes one ahead */
    struct snap **snaps; /* by sequence */
    size_t snap_count, snap_capacity;
    bool sealing, snapping;
    bool owing;             /* a snapshot went: what was written since should be sealed */
    uint32_t committing;    /* seals of the family in their commit (the landing volume counts) */
    uint64_t seal_after_ms; /* after a failure: not before this time */
    bool unheard;           /* whether the last seal's commit is there is not known */
    uint32_t failures;
    unsigned room_waiters; /* writers in volume_room */
    uint64_t complain_after_ms, copies_after_ms;
    uint64_t unique_epoch; /* counts what may change unique bytes of its snapshots */
    bool unique_asked;
    bool thin_wanted; /* something died in its packs (the landing volume's counts) */
    uint64_t thin_after_ms;
    struct volume *next_wanted; /* in the vault's list, with a reference */
    bool wanted;
    uint64_t changes; /* of the family (the landing volume counts): what a plan relies on went */
    _Atomic uint64_t cuts; /* files of the live area that shrank or went; before their bytes go */
    struct answer *answers;
    size_t answer_count, answer_next;
    uint64_t next_sequence;    /* of the family; the landing volume's counts */
    struct replayed *replayed; /* while opening (recover.c) */
};

/* What was found damaged at opening, with the name that could be found out. */
struct closed {
    uint64_t id, family_id, created_us;
    char name[128], why[400];
};

struct vault {
    struct vault_options options;
    char box[400];
    uint8_t box_id[16];
    struct store *store;
    struct io *io;
    int lock_fd;
    uint64_t verifier;
    pthread_mutex_t names, lock;
    pthread_cond_t changed;  /* whatever somebody may wait for */
    struct volume **volumes; /* by id */
    size_t volume_count, volume_capacity;
    struct closed *closed; /* none comes or goes once it is open */
    size_t closed_count, closed_capacity;
    pthread_t threads[9];
    size_t thread_count;
    bool stopping, crashed;
    bool work;             /* for the keeper, at any volume */
    struct volume *wanted; /* volumes that want it, whatever the others do */
    pthread_cond_t attend; /* what the keeper waits for */
    struct event_ring *events;
    atomic_bool listened;    /* somebody asked for events */
    pthread_cond_t told;     /* there is one */
    pthread_mutex_t reserve; /* held while it is made or given up; then vault.lock */
    bool reserve_gone;       /* hosts write nothing until it is there again */
    bool unique_asked;       /* of some volume */
    bool thin_wanted;        /* by some volume */
    uint64_t pause_us, frozen_bytes;
    uint64_t tended_ms;
};

/* ---- volume.c ---- */
/* "NAME" or "LANDING/CLONE"; a reference that volume_put gives back. NOT_FOUND. */
struct volume *volume_get(struct vault *vault, const char *name, struct err *err) MUST;
struct volume *volume_get_clone(struct vault *vault, const char *volume, const char *clone,
                                struct err *err) MUST; /* clone NULL: the volume */
void volume_put(struct volume *v);
OWN_DEFINE(volume, struct volume, volume_put);
struct replayed;
void replayed_free(struct replayed *r);
void volume_free(struct volume *v);
OWN_DEFINE(volume_object, struct volume, volume_free);
struct volume *volume_new(struct vault *vault, uint64_t id, struct err *err) MUST;
bool vault_enlist(struct vault *vault, struct volume *v, struct err *err) MUST;
void vault_delist(struct vault *vault, struct volume *v); /* marks it gone; the last put frees it */
/* vault.lock is held. */
struct volume *volume_by_id(struct vault *vault, uint64_t id);
void volume_ref(struct volume *v);
uint64_t sequence_next(struct volume *v);
uint64_t new_id(void);
/* Ends a folder's life at once by its name, then removes it. */
bool volume_erase(struct volume *v, struct err *err) MUST;
void vault_wake(struct vault *vault);
void volume_want(struct volume *v); /* the keeper, for this one alone; vault.lock is held */
/* ---- vault.c ---- */
/* Folder and journal; an empty layer, in memory; and, at the end, that it is a volume: nothing is
 * on disk before, and a crash leaves all or nothing. */
bool volume_folder(struct volume *v, struct err *err) MUST;
bool volume_first_layer(struct volume *v, struct err *err) MUST;
bool volume_found(struct volume *v, struct err *err) MUST;
/* Marks it gone, on disk too, when nobody uses it; volume.admin is held, and given up for a while.
 * Then volume_end, without a lock, lets go of what it had in the store, or waits for who does.
 */
bool volume_doom(struct volume *v, struct err *err) MUST;
bool volume_end(struct volume *v, struct err *err) MUST;
bool box_path(const struct vault *vault, const char *name, char ret[600], struct err *err) MUST;

/* ---- reserve.c: no lock is held ---- */
/* At opening: made when there is room for it, told when not. */
bool reserve_open(struct vault *vault, struct err *err) MUST;
/* Gives the reserve up when the error says that the disk is full: try once more when true. */
bool vault_make_room(struct vault *vault, const struct err *err);
void reserve_tend(struct vault *vault); /* makes it again when there is room */
/* Why hosts write nothing, "" while they may; vault.lock is held. */
void reserve_tell(const struct vault *vault, char ret[400]);

/* Its journal; volume.write is held. */
bool volume_note(struct volume *v, const struct record *record, struct err *err) MUST;
/* On disk up to the last record; no lock. */
bool volume_sync(struct volume *v, struct err *err) MUST;
bool volume_compact(struct volume *v, struct err *err) MUST; /* when it is time */
struct record volume_facts(const struct volume *v);

/* ---- view.c ---- */
void view_show(const struct entry *entry, struct view_file *ret);

/* ---- names: what a record does to a volume, live and at opening ---- */
bool names_apply(struct tree *tree, struct slot *slot, const struct record *record, struct err *err)
    MUST;
bool slot_mark(struct slot *slot, uint64_t file, struct err *err) MUST;
/* Forgets, when memory is short. */
void answer_keep(struct volume *v, const struct record *record, enum answer_how how);

/* ---- swap.c ---- */
struct slot *slot_new(struct volume *v, uint64_t sequence, struct err *err) MUST; /* planned */
void slot_free(struct slot *slot);
OWN_DEFINE(slot, struct slot, slot_free);
/* The active layer is on disk and told of: before anything is written to it. volume.write is held.
 */
bool active_ready(struct volume *v, struct err *err) MUST;
/* A spare layer that is registered; volume.admin is held. */
bool spare_ready(struct volume *v, struct err *err) MUST;
/* The active layer becomes frozen; volume.write is held and a spare ready. */
bool swap_now(struct volume *v, struct err *err) MUST;
/* All that is frozen is on disk, and the swaps that led there: a layer is worth nothing without
 * those below it, and none is sealed before. */
bool frozen_commit(struct volume *v, struct err *err) MUST;
/* Freezes and commits, without a snapshot. */
bool swap_quietly(struct volume *v, struct err *err) MUST;
struct slot *slot_active(const struct volume *v);

/* ---- snapshot.c; vault.lock is held unless said ---- */
struct snap *snap_new(struct volume *v, uint64_t sequence, const char *name, struct err *err) MUST;
void snap_free(struct snap *snap);
OWN_DEFINE(snap, struct snap, snap_free);
bool snap_enlist(struct volume *v, struct snap *snap, struct err *err) MUST;
void snap_delist(struct snap *snap); /* and frees it */
struct snap *snap_find(const struct volume *v, const char *name);
struct snap *snap_at(const struct volume *v, uint64_t sequence);
/* Loads tree and base for use; no lock held. Each success is given back by snap_unuse. */
bool snap_use(struct snap *snap, struct err *err) MUST;
void snap_unuse(struct snap *snap);
void snap_unload(struct snap *snap); /* when nobody uses it */
/* Lets a hidden one go that nobody needs any more; volume.admin is held, no other lock. */
bool snap_reap(struct snap *snap, struct err *err) MUST;
/* The journals of all members say that the set is whole, where that failed when it was made: no
 * lock but volume.admin. Of one snapshot; of all of a volume. */
bool snap_set_note(struct snap *snap, struct err *err) MUST;
bool snap_sets_note(struct volume *v, struct err *err) MUST;
bool snapshot_name_is_valid(const char *name, struct err *err) MUST;
bool snap_lock_note(struct snap *snap, struct err *err) MUST; /* to the journal; no lock held */
bool snap_lock_store(struct snap *snap, struct err *err) MUST;
bool snap_create(struct volume *const *volumes, size_t count, const char *name, bool hidden,
                 struct snap **ret_snaps, struct err *err) MUST;

/* ---- load.c: what the store says ---- */
bool table_load(struct volume *v, const struct root *table, uint64_t slots, struct tree *ret_tree,
                struct index *ret_base, struct err *err) MUST;

bool root_put(struct index *base, uint64_t file, const struct root *root, struct err *err) MUST;

/* ---- note.c ---- */
void note_forget(struct volume *v, uint64_t id); /* what is left is swept by nobody and harmless */
bool note_move(struct volume *v, uint64_t id, struct err *err) MUST; /* box to store */

/* ---- clone.c ---- */
/* Takes the origins' roots over when all are sealed; vault.lock is held. */
bool clone_ready(struct volume *v, struct err *err) MUST;
bool clone_register(struct volume *v, struct err *err) MUST; /* its row in the store; no lock */
void clone_unpin(struct volume *v);                          /* no lock; reaps what it may */

/* Waits on vault.changed, at most a second; false when the deadline has passed. vault.lock held. */
bool vault_wait_until(struct vault *vault, uint64_t deadline_ms);
bool vault_wait_on(struct vault *vault, pthread_cond_t *on, uint64_t deadline_ms);

/* ---- events.c ---- */
struct event_ring *event_ring_new(struct err *err) MUST;
void event_ring_free(struct event_ring *events);
/* What a record did to the names, `old` as they were; volume.write is held. */
void event_names_changed(struct volume *v, const struct tree *old, const struct record *record);
void event_file_extended(struct volume *v, uint64_t file); /* vault.lock is held */
void event_files_look(struct volume *v);

/* ---- sealer.c ---- */
bool seal_oldest(struct volume *v, struct err *err) MUST;
bool seal_is_due(const struct volume *v); /* vault.lock is held */
void *sealer_run(void *vault);
/* Looks for copies of one volume that was not looked at for a while. vault.lock is held, and let go
 * meanwhile. */
void copies_look(struct vault *vault);
/* ---- keeper.c: debt, full layers, leftovers ---- */
void *keeper_run(void *vault);
uint64_t volume_unsealed(const struct volume *v, bool frozen_only); /* vault.lock is held */
/* Waits until what is not synced and what is not sealed leave room; ERR_BUSY after wait_ms, the
 * layer's error at once when a failed sync lets none come. A commit says when it has made some. */
bool volume_room(struct volume *v, struct err *err) MUST;
void volume_room_made(struct volume *v);

/* ---- unique.c; vault.lock is held unless said ---- */
void unique_ask(struct volume *v); /* unless all is known */
/* Of the snapshot of that sequence and its neighbours in the line; of all of a family. */
void unique_forget(struct volume *v, uint64_t sequence);
void unique_forget_family(const struct volume *landing);
struct volume *unique_pick(struct vault *vault); /* one that was asked, referenced; NULL */
/* One snapshot; ret_more false: all are known. No lock. */
bool unique_count(struct volume *v, bool *ret_more, struct err *err) MUST;

/* ---- thin.c: vault.lock is held, and given up while it thins ---- */
void thin_want(struct volume *v);    /* something died in its family's packs */
bool thin_some(struct vault *vault); /* false: nothing to do */

/* ---- recover.c ---- */
/* What a volume's journal told: layers with the records made in them. */
struct replayed {
    bool facts, clean;
    uint64_t sealed, current; /* current: the active layer's sequence, 0 none */
    struct replayed_layer {
        uint64_t sequence;
        bool begun; /* a swap led to it, or it was the first */
        struct bytes records;
    } * layers;
    size_t layer_count, layer_capacity;
    uint64_t *deleted;
    size_t deleted_count, deleted_capacity;
    struct record *locks;
    size_t lock_count, lock_capacity;
    struct record facts_record;
    bool has_row; /* of the store */
    struct volume_row row;
    uint64_t last; /* the highest sequence seen */
};
bool vault_recover(struct vault *vault, struct err *err) MUST;

/* ---- closed.c ---- */
/* An error that another try does not mend, and that is of one family alone. */
bool is_damage(const struct err *err);
/* Takes all volumes of the family out of the vault, while it is opened. */
bool family_shut(struct vault *vault, uint64_t family, const struct err *why, struct err *err) MUST;
/* One more that is closed; name "": not known. */
bool closed_add(struct vault *vault, const struct closed *what, const char *why, struct err *err)
    MUST;
void closed_name(struct vault *vault, uint64_t id, const char *name); /* unless it has one */
/* A journal that was closed in order is so again: nothing was changed. */
void journal_leave(struct volume *v);
const struct closed *closed_by_id(const struct vault *vault, uint64_t id);
const struct closed *closed_of_family(const struct vault *vault, uint64_t family);
const struct closed *closed_by_name(const struct vault *vault, const char *name, size_t len);
void closed_show(const struct closed *closed, struct vault_volume_info *ret);
/* Why a volume that is open takes no changes any more: a journal or layer of it whose sync failed.
 * No lock; "" when it takes them. */
void volume_tell_closed(struct volume *v, char ret[400]);

/* ---- read.c ---- */
struct plan_step {
    struct layer *layer;
    uint64_t file;
};
struct plan {
    struct plan_step few[12], *steps;
    size_t count, capacity;
    struct root root; /* stored false: nothing below */
    struct family *family;
    uint64_t changes, cuts, size;
    uint8_t kind;
};
void plan_done(struct plan *plan);
OWN_DEFINE_INPLACE(plan, struct plan, plan_done);
/* Where a file's content lies; vault.lock is held. snap NULL: the live area. */
bool plan_make(struct volume *v, const struct snap *snap, uint64_t file, struct plan *ret,
               struct err *err) MUST;
/* Whole records. */
bool plan_read(const struct plan *plan, uint64_t record, uint64_t count, uint8_t *to,
               struct err *err) MUST;
bool volume_read(struct volume *v, struct snap *snap, uint64_t file, uint64_t record,
                 uint64_t count, void *to, struct err *err) MUST;

/* ---- write.c; volume.write is held ---- */
/* BUSY while another view has claimed the live area. */
bool write_allowed(const struct view *view, struct err *err) MUST;
bool write_size(struct volume *v, uint64_t file, uint64_t size, uint64_t mtime_us,
                uint64_t ctime_us, struct err *err) MUST;
/* Nothing that the layer has of the file behind its size stays. */
bool write_tidy(struct layer *layer, uint64_t file, uint64_t size, struct err *err) MUST;
/* No lock. What a write or a cut leaves of the records at its ends may lie in the store alone: it
 * is fetched where no other writer waits for it, and found in memory under the lock. */
bool write_fetch(struct volume *v, uint64_t file, uint64_t offset, uint64_t end, struct err *err)
    MUST;
bool volume_commit(struct volume *v, uint64_t file, struct err *err) MUST;

struct view {
    struct vault *vault;
    struct volume *volume;
    struct snap *snap; /* NULL: live */
};
