/* Everything that volume states refer to, walked once however many share it: content hashes from
 * the records up to the roots, what of it is damaged, and which items are needed. One thread. */
#pragma once
#include "drivers/vault/store/family_int.h"

struct survey;
/* Over the family's present rows, which it keeps. Packs of other rows do not exist for it. */
struct survey *survey_new(struct family *family, struct err *err) MUST;
void survey_free(struct survey *survey);
OWN_DEFINE(survey, struct survey, survey_free);
const struct table *survey_table(const struct survey *survey);
/* Items that cannot be read, known from elsewhere; told before the first check. */
bool survey_bad(struct survey *survey, uint32_t pack, uint32_t frame, uint16_t items,
                struct err *err) MUST;

/* Whether all that a file table's map and the maps of its files refer to is there and is what its
 * hashes say. False only when it could not be found out. */
bool survey_check(struct survey *survey, const struct root *table, bool *ret_whole, struct err *err)
    MUST;
/* Damaged ranges of a state that was checked and is not whole; file INODE_TABLE: of the table. */
typedef bool survey_damage(void *arg, uint64_t file, uint64_t first, uint64_t count,
                           const char *why, struct err *err);
bool survey_find(struct survey *survey, const struct root *table, survey_damage *fn, void *arg,
                 struct err *err) MUST;

/* All items of a state are needed (damaged ones as far as they can be read about). */
bool survey_mark(struct survey *survey, const struct root *table, struct err *err) MUST;
/* One more: a seal frame, a chunk of a dead list. */
bool survey_mark_item(struct survey *survey, struct addr addr, struct err *err) MUST;
/* All that rows name: heads, snapshots, seal frames, dead lists. */
bool survey_mark_rows(struct survey *survey, struct err *err) MUST;
/* What was marked of the nth pack of the rows; borrowed, as many as its live masks have frames. */
const uint16_t *survey_marked(const struct survey *survey, size_t nth);
/* Items marked in packs or frames that the rows do not have. */
uint64_t survey_marked_beyond(const struct survey *survey);
uint64_t survey_records(const struct survey *survey); /* whose hashes were compared, once each */
/* ---- for copies, which go on from an older one ---- */
/* From now on what is born at or below a sequence is taken for whole and for marked: a state of
 * that line, of then, has it. */
void survey_trust(struct survey *survey, uint64_t sequence);
bool survey_mark_deaths(struct survey *survey, const struct deaths *deaths, struct err *err) MUST;
