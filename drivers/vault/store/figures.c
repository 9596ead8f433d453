/* Figures of states. */
#include "drivers/vault/store/figures.h"
#include "drivers/vault/store/listing.h"
#include "drivers/vault/store/survey.h"

bool figures_stored(struct family *family, const struct root *table, uint64_t *ret_bytes,
                    struct err *err)
{
    AUTO(survey) struct survey *survey = survey_new(family, err);
    double bytes = 0;
    if (!survey || !survey_mark(survey, table, err))
        return false;
    const struct table *rows = survey_table(survey);
    for (size_t i = 0; i < rows->pack_count; i++) {
        const struct table_pack *pack = &rows->packs[i];
        const uint16_t *marked = survey_marked(survey, i);
        uint64_t items = 0;
        for (uint32_t f = 0; f < masks_frames(pack->live); f++)
            items += (unsigned)__builtin_popcount(marked[f]);
        if (pack->items > 0)
            bytes += (double)pack->bytes * (double)items / (double)pack->items;
    }
    *ret_bytes = (uint64_t)bytes;
    return true;
}

bool figures_logical(struct family *family, const struct root *table, uint64_t slots,
                     uint64_t *ret_bytes, struct err *err)
{
    AUTO(listing) struct listing listing = {0};
    uint64_t bytes = 0;
    if (!listing_read(family, table, slots, &listing, err))
        return false;
    for (size_t i = 0; i < listing.count; i++)
        bytes += listing.files[i].first == i && listing.files[i].inode.kind == INODE_FILE
                     ? listing.files[i].inode.size
                     : 0;
    *ret_bytes = bytes;
    return true;
}
