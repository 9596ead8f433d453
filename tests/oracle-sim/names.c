/* Names RMAN and the archiver make: %U and its parts, %F, archived log formats. */
#include "sim.h"

static void base32(uint32_t v, int width, char *out)
{
    static const char digit[] = "0123456789abcdefghijklmnopqrstuv";
    char t[16];
    int n = 0;

    do {
        t[n++] = digit[v % 32];
        v /= 32;
    } while (v || n < width);
    for (int i = 0; i < n; i++)
        out[i] = t[n - 1 - i];
    out[n] = 0;
}

void name_u(uint32_t count, uint32_t stamp, char out[24])
{
    base32(count, 2, out);
    base32(stamp, 6, out + strlen(out));
}

static void big_u(struct sim *s, const struct naming *k, const char *u, char *out, size_t n)
{
    if (k->kind == 'D')
        format_text(out, n, "data_D-%s_I-%u_TS-%s_FNO-%d_%s", s->dbname, s->dbid, k->tsname,
                    k->file, u);
    else if (k->kind == 'A')
        format_text(out, n, "arch_D-%s_id-%u_S-%u_T-%d_A-%u_%s", s->dbname, s->dbid, k->seq,
                    k->thread, s->acid, u);
    else if (k->kind == 'C')
        format_text(out, n, "cf_D-%s_id-%u_%s", s->dbname, s->dbid, u);
    else
        format_text(out, n, "%s_%d_%d", u, k->piece, k->copy);
}

static void log_letter(struct sim *s, char c, const struct naming *k, char *out, size_t n)
{
    switch (c) {
    case 't':
        format_text(out, n, "%d", k->thread);
        break;
    case 'T':
        format_text(out, n, "%04d", k->thread);
        break;
    case 's':
        format_text(out, n, "%u", k->seq);
        break;
    case 'S':
        format_text(out, n, "%010u", k->seq);
        break;
    case 'r':
        format_text(out, n, "%u", s->rlc);
        break;
    case 'a':
        format_text(out, n, "%x", s->acid);
        break;
    case 'd':
        format_text(out, n, "%x", s->dbid);
        break;
    default:
        format_text(out, n, "%c", c);
        break;
    }
}

static void letter(struct sim *s, char c, const struct naming *k, const char *u, char *out,
                   size_t n)
{
    char day[32];

    ft_text(k->stamp, day);
    switch (c) {
    case 'U':
        big_u(s, k, u, out, n);
        break;
    case 'u':
        copy_text(out, n, u);
        break;
    case 'd':
        copy_text(out, n, s->dbname);
        break;
    case 'I':
        format_text(out, n, "%u", s->dbid);
        break;
    case 'N':
        copy_text(out, n, k->tsname ? k->tsname : "");
        break;
    case 'f':
        format_text(out, n, "%d", k->file);
        break;
    case 't':
        format_text(out, n, "%u", k->stamp);
        break;
    case 's':
        format_text(out, n, "%u", k->set);
        break;
    case 'p':
        format_text(out, n, "%d", k->piece);
        break;
    case 'c':
        format_text(out, n, "%d", k->copy);
        break;
    case 'e':
        format_text(out, n, "%u", k->seq);
        break;
    case 'h':
        format_text(out, n, "%d", k->thread);
        break;
    case 'r':
        format_text(out, n, "%u", s->rlc);
        break;
    case 'T':
        format_text(out, n, "%.4s%.2s%.2s", day, day + 5, day + 8);
        break;
    case 'Y':
        format_text(out, n, "%.4s", day);
        break;
    case 'M':
        format_text(out, n, "%.2s", day + 5);
        break;
    case 'D':
        format_text(out, n, "%.2s", day + 8);
        break;
    case '%':
        copy_text(out, n, "%");
        break;
    default:
        format_text(out, n, "%%%c", c);
        break;
    }
}

void name_expand(struct sim *s, const char *format, const struct naming *k, char *out, size_t n)
{
    char part[256], u[24];
    size_t at = 0;

    name_u(k->set, k->stamp, u);
    out[0] = 0;
    for (const char *p = format; *p && at + 1 < n; p++) {
        if (*p != '%' || !p[1]) {
            out[at++] = *p;
            out[at] = 0;
            continue;
        }
        p++;
        if (k->kind == 'L')
            log_letter(s, *p, k, part, sizeof part);
        else
            letter(s, *p, k, u, part, sizeof part);
        copy_text(out + at, n - at, part);
        at += strlen(out + at);
    }
}

/* %F = c-dbid-day-QQ; the counter starts anew every day. */
void name_autobackup(struct sim *s, const char *format, char *out, size_t n)
{
    char day[32], f[64], head[PATH_LEN];
    const char *mark = strstr(format, "%F");
    uint32_t ft = now_ft(s), today = ft / 86400;
    int64_t count = 0;

    if (kv_int(s, "ctl", "auto_day", 0) == today)
        count = kv_int(s, "ctl", "auto_n", 0) + 1;
    kv_set(s, "ctl", "auto_day", today);
    kv_set(s, "ctl", "auto_n", count);
    ft_text(ft, day);
    format_text(f, sizeof f, "c-%u-%.4s%.2s%.2s-%02x", s->dbid, day, day + 5, day + 8,
                (unsigned)(count & 255));
    if (!mark) {
        format_text(out, n, "%s", format);
        return;
    }
    copy_text(head, sizeof head, format);
    head[mark - format < PATH_LEN ? mark - format : 0] = 0;
    format_text(out, n, "%.800s%s%.150s", head, f, mark + 2);
}
