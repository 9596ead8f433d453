/* One request to a vault's control socket from a script: ask SOCKET OP [KEY=TEXT | KEY[]=TEXT |
 * KEY=true]... */
#include "drivers/vault/control/wire.h"

#include "agent/base/str.h"
#include <stdio.h>
#include <string.h>

enum { KEY_BYTES = 64, WAIT_MS = 60000 };

/* "volumes[]=ORCL" adds to a list. */
static bool put(json_t *head, const char *word, struct err *err)
{
    char key[KEY_BYTES];
    const char *value = strchr(word, '=');
    size_t len = value ? (size_t)(value - word) : 0;
    if (!value || !len || len >= sizeof key)
        return err_set(err, ERR_INVALID, "'%s' is no KEY=TEXT", word);
    memcpy(key, word, len);
    key[len] = '\0';
    value++;
    if (len > 2 && str_equal(key + len - 2, "[]")) {
        key[len - 2] = '\0';
        json_t *list = json_object_get(head, key);
        return list ? json_add(list, json_string(value), err)
                    : json_put(head, key, json_pack("[s]", value), err);
    }
    return str_equal(value, "true") ? json_put(head, key, json_true(), err)
                                    : wire_put_name(head, key, value, err);
}

static bool run(int argc, char **argv, struct err *err)
{
    AUTO(message) struct message answer = {0};
    AUTO(json) json_t *head = json_object();
    if (argc < 3)
        return err_set(err, ERR_INVALID, "usage: ask SOCKET OP [KEY=TEXT]...");
    if (!head || !json_put_text(head, "op", argv[2], err))
        return false;
    for (int i = 3; i < argc; i++)
        if (!put(head, argv[i], err))
            return false;
    AUTO(wire) struct wire *wire = wire_connect(argv[1], err);
    if (!wire || !wire_call(wire, head, NULL, 0, WAIT_MS, &answer, NULL, err))
        return false;
    json_dumpf(answer.head, stdout, JSON_INDENT(1));
    putchar('\n');
    return true;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    if (run(argc, argv, &err))
        return 0;
    fprintf(stderr, "%s: %s\n", argc > 2 ? argv[2] : "ask", err.text);
    return 1;
}
