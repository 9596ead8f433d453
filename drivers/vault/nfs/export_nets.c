/* Networks of clients: text to masks, and whether an address is in one. */
#include "drivers/vault/nfs/exports.h"

#include "agent/base/str.h"
#include <arpa/inet.h>
#include <string.h>

enum { MAPPED_BITS = 96, WORD_MAX = 64 };
static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static bool has_bits_behind(const uint8_t address[16], unsigned bits)
{
    bool any = false;
    for (unsigned i = bits; i < 128; i++)
        any |= address[i / 8] >> (7 - i % 8) & 1;
    return any;
}

static bool parse_net(const char *word, struct export_net *ret, struct err *err)
{
    char host[WORD_MAX];
    uint8_t v4[4];
    struct export_net net = {0};
    const char *slash = strchr(word, '/');
    size_t len = slash ? (size_t)(slash - word) : strlen(word);
    uint64_t bits = 0;
    if (len >= sizeof host)
        return err_set(err, ERR_CONFIG, "'%.80s' is no network", word);
    memcpy(host, word, len);
    host[len] = '\0';
    bool is_v4 = inet_pton(AF_INET, host, v4) == 1;
    if (is_v4) {
        memcpy(net.address, mapped, sizeof mapped);
        memcpy(net.address + sizeof mapped, v4, 4);
    } else if (inet_pton(AF_INET6, host, net.address) != 1) {
        return err_set(err, ERR_CONFIG,
                       "'%.80s' is no network; hint: addresses such as 192.168.7.4, 10.1.0.0/16, "
                       "fd00::/8, no names",
                       word);
    }
    uint64_t max = is_v4 ? 32 : 128;
    if (slash && !str_to_u64(slash + 1, max, &bits))
        return err_set(err, ERR_CONFIG, "'%.80s': behind '/' stand 0 to %llu bits", word,
                       (unsigned long long)max);
    net.bits = (uint8_t)((slash ? bits : max) + (is_v4 ? MAPPED_BITS : 0));
    if (has_bits_behind(net.address, net.bits))
        return err_set(err, ERR_CONFIG,
                       "'%.80s' has an address within a network; hint: its bits behind the first "
                       "%llu are to be 0",
                       word, (unsigned long long)bits);
    *ret = net;
    return true;
}

bool export_nets_parse(const char *text, struct export_rule *rule, struct err *err)
{
    struct export_net nets[EXPORT_NETS_MAX] = {0};
    size_t count = 0;
    for (const char *at = text; *at;) {
        char word[WORD_MAX + 8];
        size_t len = strcspn(at, " \t,\n");
        if (len >= sizeof word)
            return err_set(err, ERR_CONFIG, "'%.80s' is no network", at);
        memcpy(word, at, len);
        word[len] = '\0';
        at += len;
        at += strspn(at, " \t,\n");
        if (!len)
            continue;
        if (count == EXPORT_NETS_MAX)
            return err_set(err, ERR_CONFIG, "more than %d networks", EXPORT_NETS_MAX);
        if (!parse_net(word, &nets[count], err))
            return false;
        count++;
    }
    memcpy(rule->nets, nets, count * sizeof *nets);
    rule->net_count = count;
    return true;
}

static bool is_of_v4(const struct export_net *net)
{
    return net->bits >= MAPPED_BITS && memcmp(net->address, mapped, sizeof mapped) == 0;
}

void export_net_text(const struct export_net *net, char ret[EXPORT_NET_TEXT])
{
    char host[INET6_ADDRSTRLEN];
    bool is_v4 = is_of_v4(net);
    unsigned bits = is_v4 ? net->bits - MAPPED_BITS : net->bits;
    IGNORE(!inet_ntop(is_v4 ? AF_INET : AF_INET6, net->address + (is_v4 ? sizeof mapped : 0), host,
                      sizeof host)); /* it fits */
    if (bits == (is_v4 ? 32 : 128))
        str_copy(ret, EXPORT_NET_TEXT, host);
    else
        str_format(ret, EXPORT_NET_TEXT, "%s/%u", host, bits);
}

static bool is_within(const struct export_net *net, const uint8_t address[16])
{
    unsigned bytes = net->bits / 8, rest = net->bits % 8;
    if (!is_of_v4(net) && memcmp(address, mapped, sizeof mapped) == 0)
        return false; /* "::/0" is of IPv6 alone */
    if (memcmp(net->address, address, bytes) != 0)
        return false;
    return rest == 0 || ((net->address[bytes] ^ address[bytes]) >> (8 - rest)) == 0;
}

const struct export_net *export_admits(const struct export_rule *rule, const struct nfsd_peer *peer)
{
    enum { ROOTS_PORTS = 1024 };
    if (rule->privileged && peer->port >= ROOTS_PORTS)
        return NULL;
    for (size_t i = 0; i < rule->net_count; i++)
        if (is_within(&rule->nets[i], peer->address))
            return &rule->nets[i];
    return NULL;
}
