/* Packs: objects of checksummed frames (FORMAT.md 2.1), written once, read by address. */
#pragma once
#include "drivers/vault/io/io.h"
#include "drivers/vault/store/format.h"

struct pack_key {
    uint64_t family;
    uint64_t seed; /* of the store's sums */
    uint32_t pack;
    uint16_t generation;
};
void pack_name(const struct pack_key *key, char ret[IO_NAME_MAX]);

enum frame_kind { FRAME_DATA = 1, FRAME_NODES = 2, FRAME_DEAD = 3, FRAME_SEAL = 4 };

/* ---- writing ---- */
struct pack_writer;
struct pack_writer *pack_create(struct io *io, const struct pack_key *key, int zstd_level,
                                struct err *err) MUST;
/* A frame ready to be written; made by whatever thread, written in order by one. */
struct frame {
    enum frame_kind kind;
    uint64_t file; /* data */
    uint64_t birth;
    uint8_t items;    /* places, 1..16 */
    uint16_t present; /* which of them are here; raw holds only those */
    uint64_t
        records[FRAME_ITEMS]; /* data: record numbers of the items that are present, ascending */
    struct hash hashes[FRAME_ITEMS]; /* data: likewise */
    uint8_t *raw;                    /* borrowed: FRAME_RAW_MAX at most */
    size_t raw_len;
    struct bytes stored; /* filled by frame_press; owned */
    bool pressed_plain;
};
/* Compresses raw into stored (or leaves it plain where that saves less than a sixteenth). Any
 * thread. */
bool frame_press(struct frame *frame, int zstd_level, struct err *err) MUST;
void frame_done(struct frame *frame);
/* Raw bytes of a node frame from its nodes, in order (FORMAT.md 2.1). LIMIT above FRAME_RAW_MAX. */
bool frame_join(const struct bytes *nodes, size_t count, struct bytes *to, struct err *err) MUST;
/* Appends a pressed frame; its number is counted from 0. One without present items takes a number
 * and no room. */
bool pack_add(struct pack_writer *writer, const struct frame *frame, uint32_t *ret_frame,
              struct err *err) MUST;
uint64_t pack_bytes(const struct pack_writer *writer); /* so far, without the directory */
uint32_t pack_frames(const struct pack_writer *writer);
bool pack_is_full(const struct pack_writer *writer); /* the next frame belongs into a new pack */
/* The live masks of the frames, for the family's table; borrowed until finish. */
const uint16_t *pack_masks(const struct pack_writer *writer);
/* For thinning, frame by frame from 0 into the next generation: what of the old frame is in `live`,
 * as it is when that is all of it. */
struct pack_dir;
bool pack_keep(struct pack_writer *writer, struct io *io, struct pack_dir *from, uint32_t frame,
               uint16_t live, struct err *err) MUST;
/* Directory, footer, durable. Frees the writer, also on error. */
bool pack_finish(struct pack_writer *writer, uint64_t *ret_bytes, struct err *err) MUST;
void pack_abandon(struct pack_writer *writer);
OWN_DEFINE(pack_writer, struct pack_writer, pack_abandon);

/* ---- reading: every length is checked against the object, every sum before use ---- */
struct pack_row {
    uint32_t offset, bytes;
    uint8_t kind;
    uint16_t present;
    uint64_t birth;
};
/* Rows and births; hashes and subjects are read when asked for. One directory may be used by
 * many threads. */
struct pack_dir *pack_dir_read(struct io *io, const struct pack_key *key, uint64_t object_bytes,
                               struct err *err) MUST;
/* The same from the frames alone, for fsck; ret_whole: the footer agreed. */
struct pack_dir *pack_dir_scan(struct io *io, const struct pack_key *key, uint64_t object_bytes,
                               bool *ret_whole, struct err *err) MUST;
void pack_dir_free(struct pack_dir *dir);
OWN_DEFINE(pack_dir, struct pack_dir, pack_dir_free);
uint32_t pack_dir_frames(const struct pack_dir *dir);
bool pack_dir_row(const struct pack_dir *dir, uint32_t frame,
                  struct pack_row *ret); /* false: none, or nothing of it is present */
size_t pack_dir_memory(const struct pack_dir *dir);
/* Content hash of a record that is present; the hashes are loaded once and counted in memory. */
bool pack_dir_hash(struct pack_dir *dir, struct io *io, uint32_t frame, uint8_t item,
                   struct hash *ret, struct err *err) MUST;
/* For copies of directories: the bytes to keep, and a directory of them again (they are checked).
 */
bool pack_dir_fetch(struct io *io, const struct pack_key *key, uint64_t object_bytes,
                    struct bytes *ret, struct err *err) MUST;
struct pack_dir *pack_dir_open(const struct pack_key *key, uint64_t object_bytes, const void *bytes,
                               size_t len, struct err *err) MUST;
/* The same for its hashes: read them, or be given them (false: they are not its). */
bool pack_dir_fetch_hashes(struct pack_dir *dir, struct io *io, struct bytes *ret, struct err *err)
    MUST;
bool pack_dir_give_hashes(struct pack_dir *dir, const void *bytes, size_t len, struct err *err)
    MUST;
bool pack_dir_has_hashes(struct pack_dir *dir);
/* What a data frame holds: file, and record numbers of its present items in order. */
bool pack_dir_subject(struct pack_dir *dir, struct io *io, uint32_t frame, uint64_t *ret_file,
                      uint64_t ret_records[FRAME_ITEMS], uint8_t *ret_count, struct err *err) MUST;

/* A frame's raw bytes, checked and decompressed: at most FRAME_RAW_MAX into raw. CORRUPT names pack
 * and frame; nothing of a bad frame is handed out. */
bool pack_frame_read(struct io *io, const struct pack_key *key, const struct pack_row *row,
                     uint32_t frame, uint8_t *raw, size_t *ret_len, struct err *err) MUST;
/* The same from `row->bytes` bytes that were read at row->offset. */
bool pack_frame_open(const struct pack_key *key, const struct pack_row *row, uint32_t frame,
                     const uint8_t *bytes, uint8_t *raw, size_t *ret_len, struct err *err) MUST;
/* An item's bytes within raw; what is not a record or node is item 0. CORRUPT when it is not here.
 */
bool pack_item(const struct pack_row *row, const uint8_t *raw, size_t len, uint8_t item,
               const uint8_t **ret, size_t *ret_len, struct err *err) MUST;
/* Place of an item among the present ones, -1 when it is not here. */
int pack_item_place(uint16_t present, uint8_t item);
