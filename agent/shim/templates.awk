# Built-in templates: each file named on the command line becomes one C string. Same input, same output.
# Sign by sign, because awks differ on how many backslashes gsub() wants.
function quoted(text,    out, i, sign) {
    for (i = 1; i <= length(text); i++) {
        sign = substr(text, i, 1)
        if (sign == "\\" || sign == "\"" || sign == "?") sign = "\\" sign
        if (sign == "\t") sign = "\\t"
        out = out sign
    }
    return "\"" out "\\n\""
}
BEGIN {
    print "/* Generated from agent/shim/templates by templates.awk. */"
    print "#include \"agent/shim/template.h\"\n"
    print "const struct template_builtin template_builtins[] = {"
}
FNR == 1 {
    if (count++) print "    },"
    name = FILENAME
    sub(/.*\//, "", name)
    printf "    {\n        \"%s\",\n", name
}
{
    print "        " quoted($0)
}
END {
    if (count) print "    },"
    print "};"
    printf "const size_t template_builtin_count = %d;\n", count
}
