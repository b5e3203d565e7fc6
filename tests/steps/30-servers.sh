#!/usr/bin/env bash
# The test servers under bad treatment: nothing may stay behind, and nothing of anybody else's may be touched.
set -uo pipefail
passed=0
failed=0
servers=$PWD/tests/servers
box=$(mktemp -d /tmp/crossfade-box.XXXXXX) # the sets of this test stand apart from every other's
chmod 755 "$box"
export TMPDIR=$box
unset CROSSFADE_TEST_SERVERS
trap 'for set in "$box"/crossfade-servers.*; do [[ ! -d $set ]] || "$servers" stop "$set"; done; rm -rf "$box"' EXIT

says() { # what is shown, then a command that must succeed
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        printf 'FAILED: %s\n' "$what"
        failed=$((failed + 1))
    fi
}
refuses() { ! "$@" >/dev/null 2>&1; }
within() { # seconds, command: waits for a state, never asserts how soon it came
    local left=$(($1 * 10))
    shift
    until "$@"; do
        ((left-- > 0)) || return 1
        sleep 0.1
    done
}
no_sets() { ! compgen -G "$box/crossfade-servers.*" >/dev/null; }
no_processes() { ! find /proc -mindepth 2 -maxdepth 2 -path '/proc/[0-9]*/cwd' -lname "$box/*" 2>/dev/null | grep -q .; }
clean() { no_sets && no_processes; }

# A crash keeps what was acknowledged, and the server comes back where it was.
keeps_rows() {
    local one
    eval "$("$servers" start --only postgres,redis)"
    psql -qX "$CROSSFADE_TEST_POSTGRES" -c 'CREATE TABLE t AS SELECT 7 AS a' || return 1
    redis-cli -u "$CROSSFADE_TEST_REDIS" set k 8 2>/dev/null | grep -q OK || return 1
    for one in postgres redis; do "$servers" kill $one && refuses "$servers" status && "$servers" restart $one || return 1; done
    "$servers" status >/dev/null || return 1
    [[ $(psql -qXAt "$CROSSFADE_TEST_POSTGRES" -c 'TABLE t') == 7 && $(redis-cli -u "$CROSSFADE_TEST_REDIS" get k 2>/dev/null) == 8 ]]
}
keeps_mysql_rows() {
    eval "$("$servers" start --only mysql)"
    sql() { MYSQL_PWD=$(cat "$CROSSFADE_TEST_SERVERS/password") mariadb --no-defaults -h 127.0.0.1 -P "$(cat "$CROSSFADE_TEST_SERVERS/mysql/port")" -u crossfade -N crossfade -e "$1"; }
    sql 'CREATE TABLE t (a int); INSERT INTO t VALUES (9)' || return 1
    "$servers" kill mysql && "$servers" restart mysql && [[ $(sql 'SELECT a FROM t') == 9 ]]
}
stops() { local set; for set in "$box"/crossfade-servers.*; do "$servers" stop "$set" || return 1; done; }
says "a killed server keeps what it acknowledged" keeps_rows
says "a killed MariaDB keeps what it acknowledged" keeps_mysql_rows
says "stop removes everything" stops
says "stop left nothing" clean

# The owner of a set dies without a goodbye.
dies_with_owner() {
    local owner set
    sleep 600 &
    owner=$!
    "$servers" start --only redis --owner $owner >/dev/null || return 1
    set=$(compgen -G "$box/crossfade-servers.*")
    "$servers" status "$set" >/dev/null || return 1
    kill -9 $owner
    within 30 clean
}
says "a set ends with its owner" dies_with_owner

# A start that is ended half-way, kindly and not.
ended_start() { # signal, seconds
    local pid
    "$servers" start >/dev/null 2>&1 &
    pid=$!
    sleep "$2"
    kill "-$1" $pid 2>/dev/null
    wait $pid 2>/dev/null
    "$servers" start --only redis >/dev/null || return 1 # sweeps what a killed start left
    stops && within 30 clean
}
for after in 0.2 0.7 1.2; do
    says "SIGTERM $after s into the start leaves nothing" ended_start TERM $after
    says "SIGKILL $after s into the start leaves nothing after the next start" ended_start KILL $after
done

# Several at once.
at_once() {
    local pids=() pid
    for _ in 1 2 3; do
        "$servers" start >/dev/null &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || return 1; done
    [[ $(cat "$box"/crossfade-servers.*/*/port | sort -u | wc -l) == 9 ]]
}
says "three sets at once have nine ports" at_once
says "and stop" stops

# What is not ours.
mkdir "$box/other"
touch "$box/other/file"
says "stop refuses a folder that is not its own" refuses "$servers" stop "$box/other"
says "and leaves it alone" test -f "$box/other/file"
wrong_password() {
    eval "$("$servers" start --only postgres)"
    refuses psql -X "${CROSSFADE_TEST_POSTGRES/:[0-9a-f]*@/:wrong@}" -c 'SELECT 1'
}
says "a stranger on this machine does not get in" wrong_password
says "stop, at last" stops
says "nothing is left" clean
printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
