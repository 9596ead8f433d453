/* Bytes: numbers in either order, SCN forms, checksums, block frames and the fictive calendar. */
#include "sim.h"

void put2(struct fmt f, uint8_t *p, unsigned v)
{
    p[f.be ? 1 : 0] = (uint8_t)v;
    p[f.be ? 0 : 1] = (uint8_t)(v >> 8);
}

void put4(struct fmt f, uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[f.be ? 3 - i : i] = (uint8_t)(v >> (8 * i));
}

void put8(struct fmt f, uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[f.be ? 7 - i : i] = (uint8_t)(v >> (8 * i));
}

unsigned get2(struct fmt f, const uint8_t *p)
{
    return f.be ? (unsigned)(p[0] << 8 | p[1]) : (unsigned)(p[1] << 8 | p[0]);
}

uint32_t get4(struct fmt f, const uint8_t *p)
{
    uint32_t v = 0;

    for (int i = 0; i < 4; i++)
        v |= (uint32_t)p[f.be ? 3 - i : i] << (8 * i);
    return v;
}

uint64_t get8(struct fmt f, const uint8_t *p)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v |= (uint64_t)p[f.be ? 7 - i : i] << (8 * i);
    return v;
}

void put_scn(struct fmt f, uint8_t *p, uint64_t scn)
{
    put4(f, p, (uint32_t)scn);
    if (f.big) {
        put2(f, p + 4, 0x8000 | (unsigned)(scn >> 48 & 0x7fff));
        put2(f, p + 6, (unsigned)(scn >> 32 & 0xffff));
    } else {
        put2(f, p + 4, (unsigned)(scn >> 32 & 0x7fff));
        put2(f, p + 6, 0);
    }
}

void put_scn_open(uint8_t *p)
{
    for (int i = 0; i < 8; i++)
        p[i] = i < 6 ? 0xff : 0;
}

uint64_t get_scn(struct fmt f, const uint8_t *p)
{
    static const uint8_t open[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint64_t base = get4(f, p);
    unsigned hi = get2(f, p + 4);

    if (memcmp(p, open, sizeof open) == 0)
        return SCN_NONE;
    if (hi & 0x8000)
        return base | (uint64_t)get2(f, p + 6) << 32 | (uint64_t)(hi & 0x7fff) << 48;
    return base | (uint64_t)hi << 32;
}

unsigned fold16(const uint8_t *p, size_t n)
{
    uint64_t acc = 0, w;

    for (size_t i = 0; i + 8 <= n; i += 8) {
        memcpy(&w, p + i, 8);
        acc ^= w;
    }
    acc ^= acc >> 32;
    acc ^= acc >> 16;
    return (unsigned)(acc & 0xffff);
}

static void store_fold(uint8_t *b, size_t n, size_t at)
{
    uint16_t x;

    b[at] = b[at + 1] = 0;
    x = (uint16_t)fold16(b, n);
    memcpy(b + at, &x, 2); /* read in host order above, written in host order here */
}

uint32_t compat_code(const char *s)
{
    unsigned v[5] = {0};
    char *end = NULL;

    for (int i = 0; i < 5 && *s; i++) {
        v[i] = (unsigned)strtoul(s, &end, 10) & 0xff;
        s = *end == '.' ? end + 1 : end;
        if (*end && *end != '.')
            break;
    }
    if (v[0] >= 18)
        return v[0] << 24 | v[1] << 16 | v[2] << 8;
    return v[0] << 24 | (v[1] & 15) << 20 | (v[2] & 15) << 16 | v[3] << 8 | v[4];
}

unsigned size_code(uint32_t bs)
{
    unsigned n = 0;

    while ((256u << n) < bs && n < 7)
        n++;
    return (n << 5) + 2;
}

void kcbh_seal(struct fmt f, uint8_t *b, uint32_t bs, int type, uint32_t rdba, uint64_t scn,
               int seq)
{
    b[0] = (uint8_t)type;
    b[1] = (uint8_t)size_code(bs);
    put2(f, b + 2, f.big ? (unsigned)(scn >> 48 & 0xffff) : 0);
    put4(f, b + 4, rdba);
    put4(f, b + 8, (uint32_t)scn);
    put2(f, b + 12, (unsigned)(scn >> 32 & 0xffff));
    b[14] = (uint8_t)seq;
    b[15] = 4;
    put2(f, b + 18, 0);
    put4(f, b + bs - 4, (uint32_t)((scn & 0xffff) << 16 | (unsigned)type << 8 | (unsigned)seq));
    store_fold(b, bs, 16);
}

bool kcbh_ok(struct fmt f, const uint8_t *b, uint32_t bs)
{
    uint32_t tail = (get4(f, b + 8) & 0xffff) << 16 | (uint32_t)b[0] << 8 | b[14];

    return get4(f, b + bs - 4) == tail && fold16(b, bs) == 0;
}

uint64_t kcbh_scn(struct fmt f, const uint8_t *b)
{
    uint64_t top = f.big ? get2(f, b + 2) : 0;

    return get4(f, b + 8) | (uint64_t)get2(f, b + 12) << 32 | top << 48;
}

void os_block(struct fmt f, uint8_t *b, uint32_t bs, uint32_t blocks)
{
    memset(b, 0, bs);
    b[1] = (uint8_t)size_code(bs);
    put4(f, b + 4, 0xffc00000u);
    put4(f, b + 20, bs);
    put4(f, b + 24, blocks);
    put4(f, b + 28, 0x7a7b7c7du);
    put4(f, b + 32, 0100640u);
    store_fold(b, bs, 16);
}

/* Days to year, month, day: the usual 400-year arithmetic with March as the first month. */
void civil(int64_t t, int out[6])
{
    int64_t days = (t >= 0 ? t : t - 86399) / 86400, sec = t - days * 86400;
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

    out[2] = (int)(doy - (153 * mp + 2) / 5 + 1);
    out[1] = (int)(mp < 10 ? mp + 3 : mp - 9);
    out[0] = (int)(yoe + era * 400 + (out[1] <= 2));
    out[3] = (int)(sec / 3600);
    out[4] = (int)(sec / 60 % 60);
    out[5] = (int)(sec % 60);
}

static int64_t days_from_civil(int64_t y, int m, int d)
{
    int64_t era, yoe, doy;

    y -= m <= 2;
    era = (y >= 0 ? y : y - 399) / 400;
    yoe = y - era * 400;
    doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

uint32_t ft_from_local(int64_t local)
{
    int c[6];

    civil(local, c);
    return (uint32_t)(((((int64_t)c[0] - 1988) * 12 + c[1] - 1) * 31 + c[2] - 1) * 86400 +
                      (int64_t)c[3] * 3600 + (int64_t)c[4] * 60 + c[5]);
}

int64_t ft_to_local(uint32_t t)
{
    int d = (int)(t / 86400 % 31) + 1, m = (int)(t / 2678400 % 12) + 1;
    int y = (int)(t / 32140800) + 1988;

    return days_from_civil(y, m, d) * 86400 + t % 86400;
}

const char *ft_text(uint32_t t, char out[32])
{
    snprintf(out, 32, "%04u-%02u-%02u %02u:%02u:%02u", t / 32140800 + 1988, t / 2678400 % 12 + 1,
             t / 86400 % 31 + 1, t / 3600 % 24, t / 60 % 60, t % 60);
    return out;
}
