/* XML by expat, element by element, with limits on what a server may make of it. */
#include "drivers/vault/io/s3_xml.h"

#include "agent/base/str.h"
#include <expat.h>
#include <limits.h>
#include <string.h>

enum { DEPTH_MAX = 8, PATH_MAX_BYTES = 256 };

struct reading {
    XML_Parser parser;
    s3_xml_fn *fn;
    void *arg;
    struct err *err;
    bool failed;
    int depth;
    size_t ends[DEPTH_MAX]; /* of the path, where each element's name begins */
    char path[PATH_MAX_BYTES], text[S3_XML_TEXT_MAX];
    size_t path_len, text_len;
};

static void stop(struct reading *r, const char *why)
{
    if (!r->failed && why)
        err_set(r->err, ERR_IO, "%s", why);
    r->failed = true;
    XML_StopParser(r->parser, XML_FALSE);
}

static void begin(void *arg, const char *name, const char **attributes)
{
    struct reading *r = arg;
    (void)attributes;
    const char *colon = strrchr(name, ':'); /* whatever the name space is called */
    if (colon)
        name = colon + 1;
    size_t len = strlen(name);
    if (r->depth >= DEPTH_MAX || r->path_len + len + 2 > sizeof r->path) {
        stop(r, "its XML is deeper than any answer");
        return;
    }
    r->ends[r->depth++] = r->path_len;
    if (r->path_len)
        r->path[r->path_len++] = '/';
    memcpy(r->path + r->path_len, name, len + 1);
    r->path_len += len;
    r->text_len = 0;
}

static void end(void *arg, const char *name)
{
    struct reading *r = arg;
    (void)name;
    if (r->failed)
        return;
    r->text[r->text_len] = '\0';
    if (!r->fn(r->arg, r->path, r->text, r->err)) {
        stop(r, NULL);
        return;
    }
    r->path_len = r->ends[--r->depth];
    r->path[r->path_len] = '\0';
    r->text_len = 0;
}

static void text(void *arg, const char *bytes, int len)
{
    struct reading *r = arg;
    if (r->text_len + (size_t)len >= sizeof r->text) {
        stop(r, "its XML has a longer text than any answer");
        return;
    }
    memcpy(r->text + r->text_len, bytes, (size_t)len);
    r->text_len += (size_t)len;
}

static void doctype(void *arg, const char *name, const char *system, const char *public, int subset)
{
    (void)name;
    (void)system;
    (void)public;
    (void)subset;
    stop(arg, "its XML brings a DTD");
}

static void parser_free(XML_Parser parser)
{
    if (parser)
        XML_ParserFree(parser);
}
OWN_DEFINE(parser, struct XML_ParserStruct, parser_free);

bool s3_xml_read(const char *bytes, size_t len, s3_xml_fn *fn, void *arg, struct err *err)
{
    AUTO(parser) XML_Parser parser = XML_ParserCreate(NULL);
    if (!parser)
        return err_set(err, ERR_NO_MEMORY, "XML");
    AUTO(mem) struct reading *r = own_alloc(sizeof *r, err);
    if (!r)
        return false;
    *r = (struct reading){.parser = parser, .fn = fn, .arg = arg, .err = err};
    XML_SetUserData(parser, r);
    XML_SetElementHandler(parser, begin, end);
    XML_SetCharacterDataHandler(parser, text);
    XML_SetStartDoctypeDeclHandler(parser, doctype);
    bool ok = len <= INT_MAX &&
              XML_Parse(parser, bytes ? bytes : "", (int)len, XML_TRUE) == XML_STATUS_OK;
    if (r->failed)
        return false;
    return ok || err_set(err, ERR_IO, "what it sends is no XML: %s",
                         XML_ErrorString(XML_GetErrorCode(parser)));
}
