/* Fuzz target: a log in pieces; the first byte chooses their size. */
#include "agent/oracle/redo.h"
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct redo_check check;
    struct err err = {0};
    struct manifest_entry entry = {0};
    size_t piece = size ? data[0] * 7 + 1 : 1;
    redo_check_init(&check, size ? size - 1 : 0);
    for (size_t at = 1; at < size; at += piece)
        redo_check_feed(&check, data + at, piece < size - at ? piece : size - at);
    IGNORE(redo_check_finish(&check, &entry, &err)); /* only memory can fail it */
    manifest_entry_done(&entry);
    return 0;
}
