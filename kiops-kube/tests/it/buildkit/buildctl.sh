#!/bin/sh
# Behaves like buildctl-daemonless.sh of BuildKit where a run is followed from outside: arguments, --progress=rawjson, last words, exit statuses. It
# starts no daemon and builds nothing; KIND says what happens, REGISTRY where "pushes" go.
kind=passes
for arg in "$@"; do
    case $arg in
        --local=context=*) context=${arg#*=context=} ;;
        --opt=filename=*) dockerfile=${arg#*=filename=} ;;
        --output=*) destination=${arg#*name=} destination=${destination%%,*} ;;
        --import-cache=*) cache=${arg#*=} ;;
        --opt=build-arg:KIND=*) kind=${arg#*:KIND=} ;;
        --opt=build-arg:REGISTRY=*) registry=${arg#*:REGISTRY=} ;;
        --opt=build-arg:WORD=*) word=${arg#*:WORD=} ;;
    esac
done
now=2026-02-01T00:00:00Z

# As the process 1 of its container a shell hears SIGTERM only where it says so, and only between two commands.
trap 'exit 143' TERM
nap() { sleep "$1" & wait $!; }

id() {
    echo "sha256:$(printf %s "$1" | sha256sum | cut -d' ' -f1)"
}

vertex() {
    printf '{"vertexes":[{"digest":"%s","name":"%s"%s}]}\n' "$(id "$1")" "$1" "$2" >&2
}

begins() {
    vertex "$1" ",\"started\":\"$now\""
}

ends() {
    vertex "$1" ",\"started\":\"$now\",\"completed\":\"$now\"$2"
}

status() {
    printf '{"statuses":[{"id":"%s","vertex":"%s","current":0,"timestamp":"%s"%s}]}\n' "$2" "$(id "$1")" "$now" "$3" >&2
}

prints() {
    printf '{"logs":[{"vertex":"%s","stream":1,"data":"%s","timestamp":"%s"}]}\n' "$(id "$run")" "$(base64 | tr -d '\n')" "$now" >&2
}

fail() {
    echo "error: failed to solve: $1" >&2
    exit 1
}

if [ "$kind" = no-daemon ] || [ ! -r /kiops/buildkitd/buildkitd.toml ] || ! echo x >/home/user/.local/share/buildkit/x; then
    echo 'could not connect to unix:///run/user/1000/buildkit/buildkitd.sock after 60 trials' >&2
    echo '========== log ==========' >&2
    echo '[rootlesskit:parent] error: failed to start the child: fork/exec /proc/self/exe: operation not permitted' >&2
    exit 1
fi
definition="[internal] load build definition from ${dockerfile##*/}"
metadata='[internal] load metadata for registry.local/base:1'
from='[1/2] FROM registry.local/base:1'
run='[2/2] RUN make'
begins "$definition"
ends "$definition"
if [ "$kind" = no-dockerfile ]; then
    fail "failed to read dockerfile: open $dockerfile: no such file or directory"
fi
begins "$metadata"
ends "$metadata"
if [ "$kind" = no-base ]; then
    fail 'registry.local/base:1: failed to resolve source metadata for registry.local/base:1: registry.local/base:1: not found'
fi
vertex "$from"
vertex "$run"
ends "$from"
begins "$run"
printf '\033[32mmaking\033[0m %s\nof %s\n' "$word" "$(cat "$context/from" "$context/page" 2>/dev/null | tr '\n' ' ')" | prints
case $kind in
    fails)
        error='process \"/bin/sh -c make\" did not complete successfully: exit code: 7'
        ends "$run" ",\"error\":\"$error\""
        fail 'process "/bin/sh -c make" did not complete successfully: exit code: 7' ;;
    slow)
        while :; do sleep 1; done ;;
    counts-on)
        n=0
        while :; do n=$((n + 1)); echo "line $n" | prints; sleep 0.2; done ;;
    tells-files)
        { cat /kiops/docker/config.json; echo; cat /kiops/secrets/*; echo; set; } | prints
        # Half a secret in one piece, half in the next.
        printf 'npm-token-' | prints
        printf 'value-3\n' | prints ;;
    *)
        # Longer than a busy node takes to end a container, as a push is: what is canceled here has pushed nothing.
        nap 1.5 ;;
esac
if [ -n "$cache" ]; then
    ends "$run" ',"cached":true'
else
    ends "$run"
fi
[ -n "$destination" ] || exit 0
text="{\"made\":\"$context $dockerfile $destination\"}"
digest=sha256:$(printf %s "$text" | sha256sum | cut -d' ' -f1)
export='exporting to image'
begins "$export"
status "$export" 'exporting layers' ",\"completed\":\"$now\""
status "$export" "exporting manifest $digest" ",\"completed\":\"$now\""
status "$export" 'pushing layers'
if [ "$kind" = no-push ]; then
    fail "failed to push $destination: failed to authorize: failed to fetch oauth token: unexpected status from GET request to https://registry.invalid/token: 401 Unauthorized"
fi
nap 1.5
answer=$(printf '%s\n%s\n' "$destination" "$text" | nc -w 5 "${registry%:*}" "${registry#*:}")
[ "$answer" = "$digest" ] || fail "failed to push $destination: failed to copy: io: read/write on closed pipe"
status "$export" "pushing manifest for $destination@$digest" ",\"completed\":\"$now\""
ends "$export"
