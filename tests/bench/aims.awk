# Says which rows of run.sh miss their aim, and counts them. An aim "N x" is of the ratio (times better), "N GB/s" of
# the value, at least; any other unit is of the value, at most.
BEGIN { FS = "\t" }
NF < 6 || $6 == "-" { next }
$2 ~ /^SKIPPED/ { skipped++; next }
{
    aim = $6 + 0
    if ($6 ~ / x$/) good = $5 != "-" && $5 + 0 >= aim
    else if ($6 ~ /\/s$/) good = $2 + 0 >= aim
    else good = $2 + 0 <= aim
    if (good) met++
    else { missed++; print "# missed: " $1 " " $2 ($5 == "-" ? "" : ", " $5 " x of " $3) ", aim " $6 }
}
END { printf "# aims: %d met, %d missed, %d skipped\n", met, missed, skipped }
