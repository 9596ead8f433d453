/* Words of a statement, for both clients: words, quoted strings, signs; comments are gone. */
#include "sim.h"
#include <ctype.h>

static bool word_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '#' || c == '.' || c == '/' ||
           c == '-' || c == '%' || c == '@' || c == '+' || c == ':' || c == '\\';
}

static struct tok *add(struct toks *k, char kind, int line, int column)
{
    if (k->n % 32 == 0) {
        k->t = realloc(k->t, sizeof *k->t * (size_t)(k->n + 32));
        if (!k->t)
            die("out of memory");
    }
    memset(&k->t[k->n], 0, sizeof *k->t);
    k->t[k->n].kind = kind;
    k->t[k->n].line = line;
    k->t[k->n].column = column;
    return &k->t[k->n++];
}

static const char *string(const char *p, struct tok *t)
{
    char quote = *p++;
    size_t n = 0;

    while (*p && (*p != quote || p[1] == quote)) {
        if (*p == quote)
            p++;
        if (n + 1 < sizeof t->text)
            t->text[n++] = *p;
        p++;
    }
    return *p ? p + 1 : p;
}

static const char *bare(const char *p, struct tok *t)
{
    size_t n = 0;

    while (word_char(*p)) {
        if (n + 1 < sizeof t->text)
            t->text[n++] = *p;
        p++;
    }
    return p;
}

void lex(const char *text_, int line, struct toks *out)
{
    const char *p = text_, *start = text_;

    memset(out, 0, sizeof *out);
    while (*p) {
        int column = (int)(p - start) + 1;

        if (*p == '\n') {
            line++;
            start = p + 1;
        }
        if (isspace((unsigned char)*p))
            p++;
        else if (*p == '\'')
            p = string(p, add(out, 's', line, column));
        else if (*p == '"')
            p = string(p, add(out, 'd', line, column));
        else if (word_char(*p))
            p = bare(p, add(out, 'w', line, column));
        else
            add(out, 'p', line, column)->text[0] = *p++;
    }
}

void lex_free(struct toks *k)
{
    free(k->t);
    memset(k, 0, sizeof *k);
}

bool more(const struct toks *k) { return k->at < k->n; }

const struct tok *peek(const struct toks *k)
{
    static const struct tok none = {0};

    return more(k) ? &k->t[k->at] : &none;
}

bool words(struct toks *k, const char *list)
{
    int at = k->at;
    char w[64];

    while (*list) {
        size_t n = strcspn(list, " ");

        if (n >= sizeof w)
            return false;
        memcpy(w, list, n);
        w[n] = 0;
        if (at >= k->n || k->t[at].kind != 'w' || !same(k->t[at].text, w))
            return false;
        at++;
        list += n;
        while (*list == ' ')
            list++;
    }
    k->at = at;
    return true;
}

bool sign(struct toks *k, char c)
{
    if (peek(k)->kind != 'p' || peek(k)->text[0] != c)
        return false;
    k->at++;
    return true;
}

bool take_string(struct toks *k, char *out, size_t n)
{
    if (peek(k)->kind != 's' && peek(k)->kind != 'd')
        return false;
    copy_text(out, n, k->t[k->at++].text);
    return true;
}

bool take_any(struct toks *k, char *out, size_t n)
{
    if (!more(k) || peek(k)->kind == 'p')
        return false;
    copy_text(out, n, k->t[k->at++].text);
    return true;
}

bool take_number(struct toks *k, uint64_t *out)
{
    const char *t = peek(k)->text;

    if (!more(k) || !t[0] || t[strspn(t, "0123456789")])
        return false;
    *out = strtoull(t, NULL, 10);
    k->at++;
    return true;
}
