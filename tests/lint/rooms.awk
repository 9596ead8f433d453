# Checks every #include against tests/lint/rooms.txt: rooms may include what their row names,
# transitively; a third-party header has one address.
function room_of(path,   parts, n, i, r) {
    n = split(path, parts, "/")
    r = parts[1]
    for (i = 2; i < n; i++) r = r "/" parts[i]
    return r
}
function may(from, to,   list, n, i) {
    if (from == to) return 1
    if ((from, to) in seen) return seen[from, to]
    seen[from, to] = 0
    n = split(uses[from], list, " ")
    for (i = 1; i <= n; i++)
        if (list[i] == to || may(list[i], to)) return seen[from, to] = 1
    return 0
}
FILENAME ~ /rooms\.txt$/ {
    if ($0 ~ /^#/ || $0 == "") next
    split($0, half, "|")
    split(half[1], pair, ":")
    known[pair[1]] = 1
    uses[pair[1]] = pair[2]
    n = split(half[2], list, " ")
    for (i = 1; i <= n; i++) owner[list[i]] = owner[list[i]] " " pair[1] " "
    next
}
/^#include "/ {
    split($0, q, "\"")
    from = room_of(FILENAME)
    to = room_of(q[2])
    if (!(from in known)) { print FILENAME ": room " from " is not in rooms.txt"; bad = 1; next }
    if (to == "") { print FILENAME ":" FNR ": includes are rooted at the repository: " q[2]; bad = 1; next }
    if (!may(from, to)) { print FILENAME ":" FNR ": room " from " may not include " q[2]; bad = 1 }
}
/^#include </ {
    match($0, /<[^>]+>/)
    header = substr($0, RSTART + 1, RLENGTH - 2)
    for (h in owner)
        if ((h ~ /\/$/ ? index(header, h) == 1 : header == h) && index(owner[h], " " room_of(FILENAME) " ") == 0) {
            print FILENAME ":" FNR ": <" header "> belongs to" owner[h]; bad = 1
        }
}
END { exit bad }
