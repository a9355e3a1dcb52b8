#!/bin/sh
# Plays the program that Tekton puts before every step: entrypoint BEFORE AFTER COMMAND ... waits until the step BEFORE is done, and says
# when this one is. Results go into the last message.
before=$1 after=$2
shift 2
trap 'exit 143' TERM
while [ "$before" != - ] && [ ! -e "/tekton/run/$before" ]; do
    if [ -e "/tekton/run/$before.err" ]; then
        : >"/tekton/run/$after.err"
        echo 'Skipping step because a previous step failed' >&2
        exit 1
    fi
    sleep 0.1 &
    wait $!
done
"$@" &
child=$!
trap 'kill -TERM $child; wait $child; exit 143' TERM
wait $child
status=$?
if [ -e /tekton/results/digest ]; then
    printf '[{"key":"digest","value":"%s","type":1}]' "$(cat /tekton/results/digest)" >/tekton/termination
fi
if [ $status -eq 0 ]; then : >"/tekton/run/$after"; else : >"/tekton/run/$after.err"; fi
exit $status
