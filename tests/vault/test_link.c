/* A request whose answer did not come is made once more; what cannot be known then is not told as
 * if it were. */
#include "drivers/vault/link.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* What the vault does with each connection: which start of it answers hello, and what to the
 * request: "" ends the connection, "ok", or an error's name. */
struct turn {
    uint64_t verifier;
    const char *answer;
};

struct script {
    int listener;
    const struct turn *turns;
    size_t count;
    char keys[4][64];
    const char *wrong;
};

static void answer(struct wire *wire, json_t *head_taken)
{
    struct err err = {0};
    AUTO(json) json_t *head = head_taken;
    cr_assert(head && wire_send(wire, head, NULL, 0, &err), "%s", err.text);
}

static bool hear(struct wire *wire, struct message *ret)
{
    struct err err = {0};
    bool end = false;
    return wire_receive(wire, 10000, ret, &end, &err) && !end;
}

static const char *play_all(struct script *s)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct turn *turn = &s->turns[i];
        struct err err = {0};
        AUTO(message) struct message hello = {0};
        AUTO(message) struct message ask = {0};
        AUTO(wire) struct wire *wire = wire_over(accept(s->listener, NULL, NULL), &err);
        if (!wire || !hear(wire, &hello))
            return "no hello";
        json_t *head = json_object();
        if (!wire_put_u64(head, "verifier", turn->verifier, &err))
            return "no memory";
        answer(wire, head);
        if (!hear(wire, &ask))
            return "no request";
        str_copy(s->keys[i], sizeof s->keys[i], json_text(ask.head, "key"));
        if (!turn->answer[0])
            continue;
        head = json_object();
        if (!str_equal(turn->answer, "ok"))
            json_object_set_new(head, "error", json_string(turn->answer));
        answer(wire, head);
    }
    return NULL;
}

static void *play(void *arg)
{
    struct script *s = arg;
    s->wrong = play_all(s);
    return NULL;
}

static enum err_code ask_over(const struct turn *turns, size_t count)
{
    char dir[] = "/tmp/evercopy-link-XXXXXX";
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct script script = {.turns = turns, .count = count};
    struct err err = {0};
    pthread_t thread;
    cr_assert(mkdtemp(dir));
    cr_assert(str_format(at.sun_path, sizeof at.sun_path, "%s/sock", dir));
    script.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(bind(script.listener, (struct sockaddr *)&at, sizeof at) == 0 &&
              listen(script.listener, 4) == 0);
    cr_assert_eq(pthread_create(&thread, NULL, play, &script), 0);
    {
        AUTO(links) struct links *links = links_new(at.sun_path, NULL, NULL, NULL, &err);
        AUTO(message) struct message got = {0};
        cr_assert(links, "%s", err.text);
        if (links_call(links, links_ask("snapshot.create", &err), NULL, 0, &got, &err))
            cr_assert_eq(err.code, ERR_NONE);
    }
    pthread_join(thread, NULL);
    cr_assert_null(script.wrong, "%s", script.wrong);
    for (size_t i = 1; i < count; i++)
        cr_assert_str_eq(script.keys[i], script.keys[0], "it is the same request");
    close(script.listener);
    cr_assert(sys_remove_tree(dir, &err), "%s", err.text);
    return err.code;
}

Test(link, what_the_same_vault_says_at_the_second_try_is_its_word)
{
    cr_expect_eq(ask_over((struct turn[]){{7, "ok"}}, 1), ERR_NONE);
    cr_expect_eq(ask_over((struct turn[]){{7, "EXISTS"}}, 1), ERR_EXISTS);
    cr_expect_eq(ask_over((struct turn[]){{7, ""}, {7, "ok"}}, 2), ERR_NONE);
    cr_expect_eq(ask_over((struct turn[]){{7, ""}, {7, "EXISTS"}}, 2), ERR_EXISTS);
    cr_expect_eq(ask_over((struct turn[]){{7, ""}, {7, "NOT_FOUND"}}, 2), ERR_NOT_FOUND);
}

Test(link, a_vault_that_died_meanwhile_does_not_know_whether_it_was_done)
{
    cr_expect_eq(ask_over((struct turn[]){{7, ""}, {8, "ok"}}, 2), ERR_NONE);
    cr_expect_eq(ask_over((struct turn[]){{7, ""}, {8, "EXISTS"}}, 2), ERR_UNAVAILABLE);
    cr_expect_eq(ask_over((struct turn[]){{7, ""}, {8, "NOT_FOUND"}}, 2), ERR_UNAVAILABLE);
    cr_expect_eq(ask_over((struct turn[]){{7, ""}, {8, "NO_SPACE"}}, 2), ERR_NO_SPACE);
    cr_expect_eq(ask_over((struct turn[]){{7, ""}, {8, ""}}, 2), ERR_UNAVAILABLE);
}
