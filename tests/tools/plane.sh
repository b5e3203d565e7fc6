# Sourced by the steps that want a control plane of their own: `serve OPTIONS...` starts one with the migration `events`, on a free
# port, from $crossfade and in the folder $work. Then $server is its process, for the caller to end, and $url its address.
serve() {
    cat >"$work/crossfade.toml" <<'TOML'
[migration.events]
source = "sqlite://source.db"
target = "sqlite://target.db"
[migration.events.table.events]
cohort = ["user_id"]
TOML
    "$crossfade" --json --config "$work/crossfade.toml" serve --listen 127.0.0.1:0 --data "$work/plane.db" \
        "$@" >"$work/serve.log" 2>&1 &
    server=$!
    for _ in $(seq 100); do
        grep -q '"listening"' "$work/serve.log" && break
        kill -0 "$server" || { cat "$work/serve.log"; exit 1; }
        sleep 0.1
    done
    url=$(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' "$work/serve.log" | head -1)
}
