#!/bin/sh
# Behaves like Kaniko's executor where a run is followed from outside: arguments, log, exit statuses, the digest file before the
# push. It clones nothing and builds nothing; KIND says what happens, REGISTRY where "pushes" go. What is built into a folder is pushed from
# there by `push`.
kind=passes
for arg in "$@"; do
    case $arg in
        --context=*) context=${arg#*=} ;;
        --dockerfile=*) dockerfile=${arg#*=} ;;
        --destination=*) destination=${arg#*=} ;;
        --digest-file=*) digest_file=${arg#*=} ;;
        --oci-layout-path=*) layout=${arg#*=} ;;
        --cache-repo=*) cache=${arg#*=} ;;
        --build-arg=KIND=*) kind=${arg#*=KIND=} ;;
        --build-arg=REGISTRY=*) registry=${arg#*=REGISTRY=} ;;
        --build-arg=WORD=*) word=${arg#*=WORD=} ;;
    esac
done

# As the process 1 of its container a shell hears SIGTERM only where it says so, and only between two commands.
trap 'exit 143' TERM
nap() { sleep "$1" & wait $!; }

say() {
    printf '{"level":"info","msg":"%s","time":"2026-02-01T00:00:00Z"}\n' "$1" >&2
}

fail() {
    echo "$2" >&2
    exit "$1"
}

[ "$USER" = root ] || fail 1 'error building image: user: Current requires cgo or $USER set in environment'

push() {
    say "Pushing image to $destination"
    nap "$1"
    answer=$(printf '%s\n%s\n' "$destination" "$text" | nc -w 5 "${registry%:*}" "${registry#*:}")
    [ "$answer" = "$digest" ] || fail 1 "$2: failed to push to destination $destination: unexpected EOF"
    say "Pushed ${destination%:*}@$digest"
}

if [ "$1" = push ]; then
    layout=$2
    text=$(cat "$layout/index.json") registry=$(cat "$layout/registry")
    digest=sha256:$(printf %s "$text" | sha256sum | cut -d' ' -f1)
    [ "$(cat "$layout/kind")" = no-push ] && fail 1 'Error: checking push permissions: POST https://registry.invalid/v2/: UNAUTHORIZED: unauthorized to access repository'
    # That a step began is told some time after it has.
    push 6 'Error: pushing image'
    exit 0
fi

printf 'Enumerating objects: 3, done.\nCounting objects:  33%% (1/3)\rCounting objects: 100%% (3/3), done.\n'
case $kind in
    no-clone) fail 1 'Error: error resolving source context: authentication required: Repository not found.' ;;
    no-dockerfile) fail 1 'Error: error resolving dockerfile path: please provide a valid path to a Dockerfile within the build context with --dockerfile' ;;
    no-push) [ -n "$layout" ] || fail 1 "error checking push permissions -- make sure you entered the correct tag name, and that you are authenticated correctly, and try again: checking push permission for \"$destination\": POST https://registry.invalid/v2/: UNAUTHORIZED: unauthorized to access repository" ;;
esac

say 'Retrieving image manifest registry.local/base:1'
say "Building stage 'registry.local/base:1' [idx: '0', base-idx: '-1']"
[ -n "$cache" ] && say 'Using caching version of cmd: RUN make'
say 'Unpacking rootfs as cmd RUN make requires it.'
say 'RUN make'
say 'Cmd: /bin/sh'
printf '\033[32mmaking\033[0m %s\n' "$word"
case $kind in
    fails)
        fail 7 'error building image: error building stage: failed to execute command: waiting for process to exit: exit status 7' ;;
    slow)
        while :; do sleep 1; done ;;
    counts)
        n=0
        while [ $n -lt 60 ]; do n=$((n + 1)); echo "line $n"; sleep 0.1; done ;;
    counts-on)
        n=0
        while :; do n=$((n + 1)); echo "line $n"; sleep 0.2; done ;;
    oom)
        tail /dev/zero; fail 137 'error building image: error building stage: failed to execute command: waiting for process to exit: signal: killed' ;;
    tells-files)
        cat /kaniko/.docker/config.json; echo; cat /kaniko/secrets/*; echo; echo "$GIT_USERNAME $GIT_PASSWORD"
        # At the place where the node parts a long line.
        head -c 16380 /dev/zero | tr '\0' x; echo "$GIT_PASSWORD" ;;
    *)
        # Longer than a busy node takes to end a container, as a push is: what is canceled here has pushed nothing.
        nap 1.5 ;;
esac
say 'Taking snapshot of full filesystem...'

# What has no name of its own yet is like nothing else.
[ -z "$destination" ] && unique=$(cat /proc/sys/kernel/random/uuid)
text="{\"made\":\"$context $dockerfile $destination$unique\"}"
digest=sha256:$(printf %s "$text" | sha256sum | cut -d' ' -f1)
[ -n "$digest_file" ] && printf %s "$digest" >"$digest_file"
if [ -n "$layout" ]; then
    printf %s "$text" >"$layout/index.json"
    printf %s "$registry" >"$layout/registry"
    printf %s "$kind" >"$layout/kind"
fi
if [ -z "$destination" ]; then
    say 'Skipping push to container registry due to --no-push flag'
    exit 0
fi
push 4 'error pushing image'
