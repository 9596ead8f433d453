/* Command lines of both programs. */
#include "agent/base/args.h"

#include "agent/base/str.h"
#include <string.h>

enum { NAME_MAX_BYTES = 64 };

static const struct args_option *find(const struct args_option *options, size_t count,
                                      const char *name, struct err *err)
{
    const char *names[32];
    for (size_t i = 0; i < count; i++) {
        if (str_equal(options[i].name, name))
            return &options[i];
        if (i < 32)
            names[i] = options[i].name;
    }
    const char *near = str_nearest(name, names, count < 32 ? count : 32);
    err_set(err, ERR_INVALID, "unknown option '%.40s'%s%s%s", name,
            near ? "; hint: did you mean '" : "", near ? near : "", near ? "'?" : "");
    return NULL;
}

static bool take_value(const struct args_option *option, const char *value, struct err *err)
{
    if (!value)
        return err_set(err, ERR_INVALID, "option '%s' needs a value", option->name);
    if (option->text) {
        *option->text = value;
        return true;
    }
    if (*option->list_count == option->list_max)
        return err_set(err, ERR_INVALID, "option '%s' is given too often", option->name);
    option->list[(*option->list_count)++] = value;
    return true;
}

static bool take_option(int argc, char **argv, int *at, const struct args_option *options,
                        size_t count, struct err *err)
{
    char name[NAME_MAX_BYTES];
    const char *value = strchr(argv[*at], '=');
    size_t len = value ? (size_t)(value - argv[*at]) : strlen(argv[*at]);
    if (len >= sizeof name)
        return err_set(err, ERR_INVALID, "unknown option '%.40s...'", argv[*at]);
    memcpy(name, argv[*at], len);
    name[len] = '\0';
    const struct args_option *option = find(options, count, name, err);
    if (!option)
        return false;
    if (option->flag) {
        if (value)
            return err_set(err, ERR_INVALID, "option '%s' takes no value", name);
        *option->flag = true;
        return true;
    }
    if (value)
        return take_value(option, value + 1, err);
    ++*at;
    return take_value(option, *at < argc ? argv[*at] : NULL, err);
}

bool args_parse(int argc, char **argv, const struct args_option *options, size_t option_count,
                struct args *ret_args, struct err *err)
{
    bool only_words = false;
    *ret_args = (struct args){0};
    for (int i = 1; i < argc; i++) {
        if (!only_words && str_equal(argv[i], "--")) {
            only_words = true;
        } else if (!only_words && argv[i][0] == '-' && argv[i][1]) {
            if (!take_option(argc, argv, &i, options, option_count, err))
                return false;
        } else if (ret_args->word_count == ARGS_WORDS_MAX) {
            return err_set(err, ERR_INVALID, "too many arguments");
        } else {
            ret_args->words[ret_args->word_count++] = argv[i];
        }
    }
    return true;
}
