/* Direct NFS on this host. */
#include "agent/shim/directnfs.h"

#include "agent/base/sys.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { FILE_MAX = 1 << 20 };

static bool any_name(const char *dir, const char *prefix)
{
    struct err none = {0};
    AUTO(sys_names) struct sys_names names = {0};
    if (!sys_list(dir, &names, &none))
        return false;
    for (size_t i = 0; i < names.count; i++)
        if (str_starts(names.names[i], prefix) && strstr(names.names[i], ".so"))
            return true;
    return false;
}

bool directnfs_is_on(const char *oracle_home)
{
    char path[PATH_MAX], real[PATH_MAX];
    if (str_format(path, sizeof path, "%s/rdbms/lib/odm", oracle_home) &&
        any_name(path, "libnfsodm"))
        return true;
    return str_format(path, sizeof path, "%s/lib/libodm11.so", oracle_home) &&
           realpath(path, real) && strstr(real, "/libnfsodm11");
}

static bool is_key(const char *word, const char *key)
{
    size_t len = strlen(key);
    return strncasecmp(word, key, len) == 0 && word[len] == ':' && !word[len + 1];
}

void directnfs_find(const char *text, const char *dir, struct directnfs_entry *ret)
{
    struct err none = {0};
    AUTO(mem) char *copy = own_strdup(text, &none);
    char server[256] = "", export_path[300] = "";
    const char *key = "";
    *ret = (struct directnfs_entry){0};
    for (char *line = copy; line;) {
        char *words = str_field(&line, '\n');
        words[strcspn(words, "#\r")] = '\0';
        for (char *p = words; *p; p++)
            if (*p == '\t')
                *p = ' ';
        for (char *rest = words; rest;) {
            char *word = str_field(&rest, ' ');
            if (!*word)
                continue;
            if (is_key(key, "server")) {
                IGNORE(!str_copy(server, sizeof server, word)); /* cut is another one's */
                export_path[0] = '\0';
            } else if (is_key(key, "export")) {
                IGNORE(!str_copy(export_path, sizeof export_path, word));
            } else if (is_key(key, "mount") && str_equal(word, dir)) {
                ret->found = true;
                IGNORE(!str_copy(ret->server, sizeof ret->server, server));
                IGNORE(!str_copy(ret->export_path, sizeof ret->export_path, export_path));
            }
            key = word[strlen(word) - 1] == ':' ? word : "";
        }
    }
}

void directnfs_look(const char *oracle_home, const char *dir, struct directnfs_entry *ret)
{
    char paths[2][PATH_MAX] = {"", "/etc/oranfstab"};
    IGNORE(!str_format(paths[0], sizeof paths[0], "%s/dbs/oranfstab", oracle_home));
    *ret = (struct directnfs_entry){0};
    for (size_t i = 0; i < 2 && !ret->found; i++) {
        struct err none = {0};
        size_t len;
        AUTO(mem) char *text = sys_read_file(paths[i], FILE_MAX, &len, &none);
        if (text)
            directnfs_find(text, dir, ret);
        if (ret->found)
            IGNORE(!str_copy(ret->file, sizeof ret->file, paths[i])); /* of the same size */
    }
}
