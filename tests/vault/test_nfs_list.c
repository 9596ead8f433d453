/* Listings of folders as a client sees them: whole, in pages, never longer than was asked. */
#include "tests/vault/nfs_world.h"

TestSuite(nfs_list);

enum { FILES = 300 };

static void fill(struct nfs_world *n, struct client *c)
{
    for (int i = 0; i < FILES; i++) {
        char name[64];
        str_format(name, sizeof name, "file-%d-%.*s", i, i % 40,
                   "0123456789012345678901234567890123456789");
        AUTO(view) struct view *view = world_view(&n->w, "v", NULL, NULL);
        world_file(&n->w, view, name);
    }
    (void)c;
}

struct page {
    unsigned seen[FILES], dots, entries;
    bool eof;
    uint64_t cookie;
    cookieverf3 verifier;
};

static void see(struct page *page, const char *name)
{
    int i = -1;
    page->entries++;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        page->dots++;
    else if (sscanf(name, "file-%d-", &i) == 1 && i >= 0 && i < FILES)
        page->seen[i]++;
    else
        cr_assert_fail("'%s' is no file of ours", name);
}

static enum nfsstat3 plain(struct client *c, struct fh *dir, uint32_t count, struct page *page)
{
    READDIR3args args = {.dir = fh3(dir), .cookie = page->cookie, .count = count};
    READDIR3res res;
    memcpy(args.cookieverf, page->verifier, sizeof args.cookieverf);
    client_ok(c, NFS_CALL(&c->nfs, READDIR, &args, &res, &c->err));
    if (res.status != NFS3_OK)
        return res.status;
    READDIR3resok *ok = &res.READDIR3res_u.resok;
    cr_assert_leq(c->nfs.decoded.pos - 4, count);
    memcpy(page->verifier, ok->cookieverf, sizeof page->verifier);
    for (entry3 *at = ok->reply.entries, e; at; at = e.nextentry) {
        memcpy(&e, at, sizeof e); /* libnfs aligns to four */
        see(page, e.name);
        page->cookie = e.cookie;
    }
    page->eof = ok->reply.eof;
    return NFS3_OK;
}

static enum nfsstat3 plus(struct client *c, struct fh *dir, uint32_t names, uint32_t count,
                          struct page *page)
{
    READDIRPLUS3args args = {
        .dir = fh3(dir), .cookie = page->cookie, .dircount = names, .maxcount = count};
    READDIRPLUS3res res;
    memcpy(args.cookieverf, page->verifier, sizeof args.cookieverf);
    client_ok(c, NFS_CALL(&c->nfs, READDIRPLUS, &args, &res, &c->err));
    if (res.status != NFS3_OK)
        return res.status;
    READDIRPLUS3resok *ok = &res.READDIRPLUS3res_u.resok;
    cr_assert_leq(c->nfs.decoded.pos - 4, count);
    memcpy(page->verifier, ok->cookieverf, sizeof page->verifier);
    for (entryplus3 *at = ok->reply.entries, e; at; at = e.nextentry) {
        memcpy(&e, at, sizeof e);
        see(page, e.name);
        page->cookie = e.cookie;
        cr_assert(e.name_attributes.attributes_follow && e.name_handle.handle_follows);
        cr_assert_eq(e.name_attributes.post_op_attr_u.attributes.fileid, e.fileid);
    }
    page->eof = ok->reply.eof;
    return NFS3_OK;
}

static void all_once(const struct page *page)
{
    cr_assert(page->eof);
    cr_assert_eq(page->dots, 2);
    for (int i = 0; i < FILES; i++)
        cr_assert_eq(page->seen[i], 1, "file %d was listed %u times", i, page->seen[i]);
}

Test(nfs_list, shows_each_entry_once_whatever_the_pages_are)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    fill(&n, &c);
    const uint32_t counts[] = {200, 512, 1000, 4096, 32768, 1 << 20, UINT32_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct page page = {0};
        while (!page.eof)
            STATUS(plain(&c, &c.root, counts[i], &page), NFS3_OK);
        all_once(&page);
        page = (struct page){0};
        while (!page.eof)
            STATUS(plus(&c, &c.root, counts[i], counts[i] < 400 ? 400 : counts[i], &page), NFS3_OK);
        all_once(&page);
    }
    nfs_world_end(&n);
}

Test(nfs_list, ends_a_page_where_the_names_are_as_many_as_asked)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    fill(&n, &c);
    struct page page = {0};
    STATUS(plus(&c, &c.root, 1, 1 << 20, &page), NFS3_OK);
    cr_assert_eq(page.entries, 1);
    page = (struct page){0};
    STATUS(plus(&c, &c.root, 512, 1 << 20, &page), NFS3_OK);
    cr_assert(page.entries > 5 && page.entries < 30, "%u", page.entries);
    cr_assert_leq(nfsd_figures(n.nfsd).buffer_bytes, 128 << 10); /* the middle kind is enough */
    nfs_world_end(&n);
}

Test(nfs_list, says_what_is_too_small_and_whose_cookie_it_does_not_know)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    fill(&n, &c);
    struct fh file;
    STATUS(do_lookup(&c, &c.root, "file-0-", &file, NULL), NFS3_OK);
    struct page page = {0};
    STATUS(plain(&c, &c.root, 0, &page), NFS3ERR_TOOSMALL);
    STATUS(plain(&c, &c.root, 110, &page), NFS3ERR_TOOSMALL);
    STATUS(plus(&c, &c.root, 4096, 200, &page), NFS3ERR_TOOSMALL);
    STATUS(plain(&c, &file, 4096, &page), NFS3ERR_NOTDIR);
    STATUS(plain(&c, &c.root, 4096, &page), NFS3_OK);
    memset(page.verifier, 7, sizeof page.verifier);
    STATUS(plain(&c, &c.root, 4096, &page), NFS3ERR_BAD_COOKIE);
    nfs_world_end(&n);
}

Test(nfs_list, goes_on_behind_entries_that_were_removed_meanwhile)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    fill(&n, &c);
    struct page page = {0};
    unsigned removed = 0;
    while (!page.eof) {
        unsigned before[FILES];
        memcpy(before, page.seen, sizeof before);
        STATUS(plain(&c, &c.root, 1000, &page), NFS3_OK);
        for (int i = 0; i < FILES; i++) {
            char name[64];
            if (page.seen[i] == before[i])
                continue;
            str_format(name, sizeof name, "file-%d-%.*s", i, i % 40,
                       "0123456789012345678901234567890123456789");
            STATUS(do_remove(&c, &c.root, name), NFS3_OK); /* as rm -r does */
            removed++;
        }
    }
    all_once(&page);
    cr_assert_eq(removed, FILES);
    nfs_world_end(&n);
}

Test(nfs_list, gives_no_attributes_to_those_who_may_only_read_the_folder)
{
    struct nfs_world n;
    nfs_world_begin(&n);
    AUTO(client) struct client c;
    client_open(&c, n.port, "/v");
    struct fh folder;
    STATUS(do_mkdir(&c, &c.root, "d", 0744, &folder), NFS3_OK);
    made_file(&c, &folder, "f", 0600);
    client_as(&c, 1000, 1000);
    READDIRPLUS3args args = {.dir = fh3(&folder), .dircount = 4096, .maxcount = 4096};
    READDIRPLUS3res res;
    client_ok(&c, NFS_CALL(&c.nfs, READDIRPLUS, &args, &res, &c.err));
    STATUS(res.status, NFS3_OK);
    unsigned count = 0;
    for (entryplus3 *at = res.READDIRPLUS3res_u.resok.reply.entries, e; at; at = e.nextentry) {
        memcpy(&e, at, sizeof e);
        count++;
        cr_assert(!e.name_attributes.attributes_follow && !e.name_handle.handle_follows);
    }
    cr_assert_eq(count, 3);
    client_as(&c, 0, 0);
    sattr3 closed = {.mode = {1, {0711}}};
    STATUS(do_setattr(&c, &folder, &closed, NULL), NFS3_OK);
    client_as(&c, 1000, 1000);
    struct page page = {0};
    STATUS(plain(&c, &folder, 4096, &page), NFS3ERR_ACCES);
    nfs_world_end(&n);
}
