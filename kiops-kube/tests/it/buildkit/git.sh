#!/bin/sh
# Behaves like Git where the containers that fetch a source are looked at from outside: it writes into each folder what it was asked to lay out there.
last= tree=
for arg in "$@"; do
    case $arg in
        --work-tree=*) tree=${arg#*=} ;;
        *refuses.git) echo "fatal: Authentication failed for '$arg'" >&2; exit 128 ;;
        FETCH_HEAD:nowhere) echo "fatal: Not a valid object name $arg" >&2; exit 128 ;;
    esac
    last=$arg
done
if [ -n "$tree" ]; then
    echo "$last" >"$tree/from"
fi
