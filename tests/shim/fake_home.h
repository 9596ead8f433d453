/* A scratch Oracle home whose programs are small shell scripts that replay transcripts. */
#pragma once
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/shim/oratab.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct fake_home {
    char dir[64];
    struct oratab_home home;
};

static inline void fake_home_init(struct fake_home *fake)
{
    struct err err = {0};
    char bin[128];
    *fake = (struct fake_home){.dir = "/tmp/evercopy-home-XXXXXX"};
    cr_assert(mkdtemp(fake->dir));
    str_format(bin, sizeof bin, "%s/bin", fake->dir);
    cr_assert(sys_mkdir(bin, 0755, &err));
    str_copy(fake->home.home, sizeof fake->home.home, fake->dir);
    str_copy(fake->home.sid, sizeof fake->home.sid, "orcl");
    str_copy(fake->home.origin, sizeof fake->home.origin, "/etc/oratab:3");
}

static inline void fake_home_done(struct fake_home *fake)
{
    struct err err = {0};
    cr_expect(sys_remove_tree(fake->dir, &err), "%s", err.text);
}

/* The script runs with $D as the scratch folder; what it was given is kept in args, env, input. */
static inline void fake_home_program(const struct fake_home *fake, const char *name,
                                     const char *script)
{
    struct err err = {0};
    char path[128];
    AUTO(str) struct str text = {0};
    str_printf(&text,
               "#!/bin/sh\nD=%s\nprintf '%%s\\n' \"$@\" >$D/args\n"
               "tr '\\0' '\\n' </proc/$$/environ >$D/env\ncat >$D/input\n%s\n",
               fake->dir, script);
    str_format(path, sizeof path, "%s/bin/%s", fake->dir, name);
    cr_assert(str_ok(&text, &err) && sys_write_file(path, text.text, text.len, 0755, &err));
}

static inline char *fake_home_read(const struct fake_home *fake, const char *name)
{
    struct err err = {0};
    size_t len;
    char path[128];
    str_format(path, sizeof path, "%s/%s", fake->dir, name);
    char *text = sys_read_file(path, 1 << 20, &len, &err);
    cr_assert(text, "%s", err.text);
    return text;
}
