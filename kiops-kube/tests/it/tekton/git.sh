#!/bin/sh
# Behaves like Git where the steps that fetch a source are looked at from outside.
tree=
for arg in "$@"; do
    case $arg in
        --work-tree=*) tree=${arg#*=} ;;
        *refuses.git) echo "fatal: Authentication failed for '$arg'" >&2; exit 128 ;;
    esac
done
[ -n "$GIT_CONFIG_VALUE_0" ] && echo "asked with $GIT_CONFIG_VALUE_0"
[ -n "$tree" ] && echo FROM >"$tree/Dockerfile"
exit 0
