/* Fuzz target: the XML of object stores. */
#include "agent/base/str.h"
#include "drivers/vault/io/s3_xml.h"
#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool take(void *arg, const char *path, const char *text, struct err *err)
{
    size_t *seen = arg;
    (void)err;
    assert(strlen(path) < 256 && strlen(text) < S3_XML_TEXT_MAX);
    return ++*seen < 100000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    size_t seen = 0;
    bool ok = s3_xml_read((const char *)data, size, take, &seen, &err);
    assert(ok || err.code == ERR_IO || seen == 100000);
    return 0;
}
