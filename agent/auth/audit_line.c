/* One line of the audit, the head, the names of files. */
#include "agent/auth/audit_int.h"

#include "agent/base/clock.h"
#include "agent/base/json.h"
#include "agent/base/sys.h"
#include "agent/net/crypto.h"
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define HASH_MEMBER ",\"hash\":\""
enum { TEXT_MAX = 400, KEY_HEX = 16, HASH_LEN = AUDIT_HASH_HEX - 1 };
#define TAIL_LEN (strlen(HASH_MEMBER) + HASH_LEN + 2) /* and "} */

/* JSON text of outside bytes: cut, control signs escaped, what is not UTF-8 shown as '?'. */
static void add_member(struct str *to, const char *key, const char *value)
{
    char text[TEXT_MAX + 1];
    if (!value || !value[0])
        return;
    IGNORE(!str_copy(text, sizeof text, value));
    bool odd = !str_is_utf8(text, strlen(text));
    str_printf(to, "%s\"%s\":\"", to->len ? "," : "", key);
    for (const unsigned char *p = (unsigned char *)text; *p; p++) {
        if (*p < 0x20 || *p == 0x7f || *p == '"' || *p == '\\')
            str_printf(to, "\\u%04x", *p);
        else
            str_append_n(to, odd && *p >= 0x80 ? (const void *)"?" : p, 1);
    }
    str_append(to, "\"");
}

static void add_number(struct str *to, const char *key, uint64_t value)
{
    if (value)
        str_printf(to, "%s\"%s\":%" PRIu64, to->len ? "," : "", key, value);
}

static void add_who(struct str *to, const struct rpc_peer *who)
{
    char user[40];
    if (who) {
        add_member(to, "cn", who->cn);
        add_member(to, "role", who->role[0] ? who->role : "none");
        add_member(to, "serial", who->serial);
        add_member(to, "address", who->address);
    } else {
        IGNORE(!str_format(user, sizeof user, "uid %u", (unsigned)getuid()));
        add_member(to, "cn", user);
        add_member(to, "role", "host");
    }
}

char *audit_body(const struct audit_record *record, struct err *err)
{
    AUTO(str) struct str body = {0};
    char hash[CRYPTO_SHA256_HEX] = "";
    if (record->key && record->key[0]) {
        crypto_sha256_hex(record->key, strlen(record->key), hash);
        hash[KEY_HEX] = '\0';
    }
    add_member(&body, "kind", record->kind);
    add_who(&body, record->who);
    add_member(&body, "method", record->method);
    add_member(&body, "database", record->database);
    add_member(&body, "object", record->object);
    add_member(&body, "key", hash);
    add_number(&body, "of", record->of);
    add_member(&body, "code", record->code);
    add_member(&body, "text", record->text);
    add_number(&body, "repeats", record->repeats);
    return str_take(&body, err);
}

void audit_line_add(struct str *to, const char *body, const char *boot, struct audit_link *link)
{
    char when[32];
    uint64_t now = clock_wall_us();
    size_t start = to->len;
    clock_format_utc(now, when); /* ends in Z; the microseconds go before it */
    str_printf(to,
               "{\"seq\":%" PRIu64 ",\"time\":\"%.19s.%06uZ\",\"boot\":\"%s\",%s,\"prev\":\"%s\"",
               link->number, when, (unsigned)(now % 1000000), boot, body, link->prev);
    if (to->failed)
        return;
    crypto_sha256_hex(to->text + start, to->len - start, link->hash);
    str_printf(to, HASH_MEMBER "%s\"}\n", link->hash);
}

static bool is_hash(const char *text)
{
    return strlen(text) == HASH_LEN && strspn(text, "0123456789abcdef") == HASH_LEN;
}

bool audit_line_check(const char *line, size_t len, struct audit_link *ret, struct err *err)
{
    if (len > AUDIT_LINE_MAX || len <= TAIL_LEN || line[len - 1] != '}' || line[len - 2] != '"')
        return err_set(err, ERR_CORRUPT, "it is no line of an audit");
    size_t covered = len - TAIL_LEN;
    char written[AUDIT_HASH_HEX];
    memcpy(written, line + covered + strlen(HASH_MEMBER), HASH_LEN);
    written[HASH_LEN] = '\0';
    crypto_sha256_hex(line, covered, ret->hash);
    if (memcmp(line + covered, HASH_MEMBER, strlen(HASH_MEMBER)) != 0 ||
        !str_equal(ret->hash, written))
        return err_set(err, ERR_CORRUPT, "its hash is not that of its text: it was changed");
    AUTO(json) json_t *doc = json_parse(line, len, err);
    if (!doc)
        return false;
    ret->number = json_u64(doc, "seq");
    if (!ret->number || !is_hash(json_text(doc, "prev")))
        return err_set(err, ERR_CORRUPT, "it has no number or no previous hash");
    return str_copy(ret->prev, sizeof ret->prev, json_text(doc, "prev"));
}

/* ---- the head ---- */

void audit_head_format(const struct audit_head *head, char ret[AUDIT_SLOT_BYTES])
{
    char text[160];
    char line[240];
    char sum[CRYPTO_SHA256_HEX];
    IGNORE(!str_format(text, sizeof text, "evercopy audit head 1 %" PRIu64 " %s", head->count,
                       head->hash));
    crypto_sha256_hex(text, strlen(text), sum);
    IGNORE(!str_format(line, sizeof line, "%s %s", text, sum));
    memset(ret, ' ', AUDIT_SLOT_BYTES);
    for (size_t i = 0; line[i]; i++)
        ret[i] = line[i];
    ret[AUDIT_SLOT_BYTES - 1] = '\n';
}

/* What was read must be what would be written. */
static bool read_slot(const char *slot, struct audit_head *ret)
{
    static const char magic[] = "evercopy audit head 1 ";
    char text[AUDIT_SLOT_BYTES + 1];
    char again[AUDIT_SLOT_BYTES];
    memcpy(text, slot, AUDIT_SLOT_BYTES);
    text[AUDIT_SLOT_BYTES] = '\0';
    if (!str_starts(text, magic))
        return false;
    char *cursor = text + strlen(magic);
    const char *count = str_field(&cursor, ' ');
    const char *hash = cursor ? str_field(&cursor, ' ') : "";
    if (!str_to_u64(count, INT64_MAX, &ret->count) || !is_hash(hash) ||
        !str_copy(ret->hash, sizeof ret->hash, hash))
        return false;
    audit_head_format(ret, again);
    return memcmp(again, slot, AUDIT_SLOT_BYTES) == 0;
}

bool audit_head_read(int fd, struct audit_head *ret, struct err *err)
{
    char slots[2 * AUDIT_SLOT_BYTES] = {0};
    struct audit_head heads[2];
    ssize_t n = sys_pread(fd, slots, sizeof slots, 0, "audit.head", err);
    if (n < 0)
        return false;
    if (n == 0)
        return err_set(err, ERR_NOT_FOUND, "audit.head is empty");
    bool first = read_slot(slots, &heads[0]);
    bool second = read_slot(slots + AUDIT_SLOT_BYTES, &heads[1]);
    if (!first && !second)
        return err_set(err, ERR_CORRUPT, "audit.head is damaged");
    *ret = heads[!first || (second && heads[1].count > heads[0].count)];
    return true;
}

/* ---- files ---- */

bool audit_path(char ret[PATH_MAX], const char *dir, const char *name, struct err *err)
{
    return str_format(ret, PATH_MAX, "%s/%s", dir, name) ||
           err_set(err, ERR_INVALID, "path is too long: '%.80s...'", dir);
}

void audit_file_name(uint64_t first, char ret[40])
{
    IGNORE(!str_format(ret, 40, "audit.%012" PRIu64 ".log", first));
}

/* "audit.<12 to 20 digits>.log" and "audit.log"; nothing else is ours. */
static bool is_file_name(const char *name)
{
    if (str_equal(name, "audit.log"))
        return true;
    if (!str_starts(name, "audit."))
        return false;
    size_t digits = strspn(name + 6, "0123456789");
    return digits >= 12 && digits <= 20 && str_equal(name + 6 + digits, ".log");
}

bool audit_files(const char *dir, struct sys_names *ret_names, struct err *err)
{
    size_t kept = 0;
    if (!sys_list(dir, ret_names, err)) /* sorted: digits come before letters */
        return false;
    for (size_t i = 0; i < ret_names->count; i++) {
        char *name = TAKE(ret_names->names[i]);
        if (is_file_name(name))
            ret_names->names[kept++] = name;
        else
            own_free(name);
    }
    ret_names->count = kept;
    return true;
}
