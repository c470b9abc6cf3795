# shellcheck shell=bash
# Runs the tests that bear the numbers of rows in their names, such as `atk_12_what`, and prints a line for each row. Sourced
# after setup.sh; a caller runs:
#   rows_run atk [ROW…]        the rows of that prefix, or only these (12, ATK-12); the exit code is 0 if all passed
# Tests read AIGIS_LONG=1 to play a row in full. A test that plays many cases of a row says so in a line that it prints,
# `row ATK-12: 31 cases…` (aigis_tests::Cases does); any other test is one case.

# The tests of a prefix in the whole workspace and of the scripts, in the runner's own words.
rows_tests() {
    local prefix=$1
    # What the whole-mesh tests run; the test runner builds no other package's program.
    timeout 3600 cargo build --locked --quiet --workspace --bins --tests || return 1
    local status=0
    timeout 5400 cargo test --locked --workspace --lib --bins --tests --no-fail-fast -- "${prefix}_" --show-output 2>&1 || status=1
    timeout 1200 bash "$ROOT/scripts/lib/check.sh" "${prefix}_" 2>&1 || status=1
    return $status
}

# Folds what the runner said into rows. Reads its words; $1 is the prefix, the rest are the rows that were asked for.
rows_fold() {
    local prefix=$1
    shift
    awk -v prefix="$prefix" -v wanted="$*" '
        function row_of(number) { return sprintf("%s-%02d", toupper(prefix), number) }
        BEGIN {
            count = split(wanted, words, " ")
            for (i = 1; i <= count; i++) { gsub(/[^0-9]/, "", words[i]); asked[row_of(words[i])] = 1 }
        }
        # test client::atk_13_atk_18_who_listens ... ok
        $1 == "test" && $3 == "..." && index($2, prefix "_") {
            name = $2; what = $2; sub(/.*::/, "", what); rest = what
            for (row in own) delete own[row]
            while (match(rest, "^" prefix "_[0-9]+_")) {
                number = substr(rest, length(prefix) + 2, RLENGTH - length(prefix) - 2)
                own[row_of(number)] = 1
                rest = substr(rest, RLENGTH + 1)
            }
            gsub(/_/, " ", rest)
            for (row in own) {
                if (asked_of(row)) {
                    rows[row] = 1
                    if ($4 == "ok") good[row]++
                    else if ($4 == "ignored") left[row]++
                    else { bad[row]++; failing[row] = failing[row] "\n    " name }
                    if (!(row in about)) about[row] = rest
                }
            }
        }
        # row ATK-13: 31 cases, refused in 0.4 ms, p99 2.1 ms
        $1 == "row" && $4 ~ /^cases/ { row = $2; sub(/:$/, "", row); cases[row] += $3; counted[row]++
            if (match($0, /refused in .*/)) figures[row] = ", " substr($0, RSTART) }
        function words_of(number, word) { return number == 1 ? word : word "s" }
        function asked_of(row) { return count == 0 || (row in asked) }
        END {
            for (row in rows) order[++n] = row
            for (i = 2; i <= n; i++) for (j = i; j > 1 && order[j - 1] > order[j]; j--) { t = order[j]; order[j] = order[j - 1]; order[j - 1] = t }
            for (i = 1; i <= n; i++) {
                row = order[i]
                own_cases = cases[row] + good[row] + bad[row] - counted[row]
                total += own_cases
                if (bad[row]) { failed++; state = "FAILED" } else if (good[row]) { passed++; state = "passed" } else state = "left  "
                printf "%s %s  %s  [%d %s, %d %s%s]%s\n", row, state, about[row], good[row] + bad[row], words_of(good[row] + bad[row], "test"), own_cases, words_of(own_cases, "case"), figures[row], failing[row]
            }
            printf "%d cases\n%d passed, %d failed\n", total, passed, failed
            exit failed > 0 || passed == 0
        }'
}

rows_run() {
    local prefix=$1 words status=0
    shift
    words=$(mktemp)
    rows_tests "$prefix" >"$words" || status=$?
    rows_fold "$prefix" "$@" <"$words" || status=1
    # What failed to build, or failed and why, is in the words.
    [ $status = 0 ] || say "the tests' own words are in $words"
    [ $status != 0 ] || rm -f "$words"
    return $status
}
